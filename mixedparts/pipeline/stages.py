"""Runs the tasks of one stage of a build after the other, and reports their progress."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.destination import Destination, OnDisk, T
from mixedparts.pipeline.engines import Engine
from mixedparts.pipeline.runs.event_log import AddEvent
from mixedparts.pipeline.runs.outcomes import Attempt, Outcome
from mixedparts.pipeline.runs.shares import share_of, wait_for_others
from mixedparts.progress import Progress
from mixedparts.storage.shards import Commit


class Stages:
    """Runs the tasks of each stage on an engine and reports their progress.

    Args:
        config: of the build; its shard range selects the tasks of this run.
        engine: runs the tasks.
        progress: shows how many images or rows are done.
        log: adds an event and its values to the build's log.
        destination: keeps finished tasks; None: the build folder.
    """

    def __init__(
        self,
        config: BuildConfig,
        engine: Engine,
        progress: Progress,
        log: AddEvent,
        destination: Destination | None = None,
    ) -> None:
        self.config = config
        self.destination = destination or OnDisk(config.out)
        self.left: list[str] = []  # a line about each share with tasks that are not done
        self.progress = progress
        self.log = log
        self._engine = engine

    def run(
        self,
        stage: str,
        tasks: Sequence[T],
        work: Callable[[T], Commit],
        sizes: list[int],
        unit: str,
        needs: Sequence[Commit] = (),
    ) -> list[Commit] | None:
        """Run those tasks of a stage that belong to this run.

        Args:
            stage: name of the stage in progress and log.
            tasks: all tasks of the stage.
            work: runs one task and returns its commit record.
            sizes: size of each task in `unit`.
            unit: what progress counts, such as `images`.
            needs: tasks of earlier stages, whose files `work` reads.

        Returns:
            The record of every task, in the order of `tasks`. None if a shard range leaves tasks to
            other runs that have not finished them.
        """
        size_of = {task.name: size for task, size in zip(tasks, sizes, strict=True)}
        share = share_of(self.config.shard_range, tasks)
        records = self.destination.known([task.name for task in share])
        self.progress.start(stage, sum(size_of[task.name] for task in share), unit)
        self.progress.advance(sum(size_of[name] for name in records))
        share = [task for task in share if task.name not in records]
        for outcome in self._engine.run(Attempt(self.destination.work(work, needs)), share):
            record = self._recorded(stage, outcome)
            records[record.task] = record
            self.progress.advance(size_of[record.task])
            self.destination.keep_log()
        self.progress.finish()
        others = [task.name for task in tasks if task.name not in records]
        if others:
            every = [task.name for task in tasks]
            place = self.destination
            self.left = wait_for_others(
                self.config, stage, every, place.recorded, place.events, self.progress
            )
            records |= self.destination.finished(others)
        # Tasks end in any order. The next stage gets their records in the order of the plan, so
        # the result does not depend on timing or on the number of workers.
        in_order = [records[task.name] for task in tasks if task.name in records]
        return in_order if len(in_order) == len(tasks) else None

    def _recorded(self, stage: str, outcome: Outcome) -> Commit:
        """Log what became of a task, and return its record; raise its error if it has failed."""
        where = {"ran_on": outcome.host, "worker": outcome.process}
        if outcome.record is None:
            error = str(outcome.error)
            self.log("failed", stage=stage, task=outcome.task, error=error, **where)
            raise outcome.fault()
        self.log(stage, task=outcome.task, files=len(outcome.record.files), **where)
        return outcome.record
