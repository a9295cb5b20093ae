"""The pipeline of a build: plan, read, pair, write, finalize.

Every stage starts from what is on disk: a task whose commit record matches its files is not run
again (`mixedparts.storage.shards`). The same command therefore continues an interrupted build, also
with another number of workers or another engine, and the result has the same bytes.

Nothing can be loaded before the end. Finished shards wait in `_build/ready`; until the last step
the folder has no manifest, and its README names a data file that never exists
(`mixedparts.pipeline.finalize`).
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from mixedparts.entities.normalise import Filters
from mixedparts.errors import InputError, UsageError
from mixedparts.files.opening import open_to_append
from mixedparts.pipeline.build_warnings import build_warnings
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.engines import Engine, get_engine
from mixedparts.pipeline.engines.worker_pool import check_main_module
from mixedparts.pipeline.finalize import (
    done_elsewhere,
    finalize,
    finished_manifest,
    is_unfinished,
    mark_unfinished,
    tidy_up,
)
from mixedparts.pipeline.pair import run_pair
from mixedparts.pipeline.plan import (
    Plan,
    absent_splits,
    differences,
    make_plan,
    read_shards,
    store_plan,
)
from mixedparts.pipeline.read import ReadTask, run_read
from mixedparts.pipeline.reject_limit import parse_limit
from mixedparts.pipeline.rejects import check_rejects
from mixedparts.pipeline.replacement import remove_build, work_folder
from mixedparts.pipeline.write import WriteTask, run_write, write_tasks
from mixedparts.progress import Progress
from mixedparts.storage.build_folder import PLAN, stored_plan
from mixedparts.storage.shards import Commit
from mixedparts.storage.target_folder import holds_earlier
from mixedparts.storage.writer_lock import sharing, writing

LOG = logging.getLogger(__name__)
T = TypeVar("T", ReadTask, WriteTask)


def build(config: BuildConfig, progress: Progress, overwrite: bool = False) -> dict[str, Any]:
    """Build the dataset, or continue an earlier run of the same build.

    Args:
        config: of the build.
        progress: shows messages and the progress of each stage.
        overwrite: replace a build of any plan that is in the folder. A finished one stays until the
            new one is finished.

    Returns:
        The manifest. With a shard range that leaves work to other runs: the stage that is not
        complete (`waiting`) and the range (`shard_range`).

    Raises:
        UsageError: the folder contains another build or something that is no build, a class is in
            none of the sources, or a script without `if __name__ == "__main__":` calls this.
        InputError: a source is missing, unreadable as a whole, or there is no admissible sample.
        ProblemsFound: more records were rejected than `config.max_rejects` allows.
        EnvironmentFault: the engine is not installed, a worker process died, or another process
            writes to the folder.
    """
    if config.engine == "local":
        check_main_module(config.workers)
    if config.shard_range is None:
        lock = writing(config.out, progress.log)
    else:
        at, of = config.shard_range
        lock = sharing(config.out, f"{at}-{of}", progress.log)
    with lock:
        return _build(config, progress, overwrite)


def _build(config: BuildConfig, progress: Progress, overwrite: bool) -> dict[str, Any]:
    plan = make_plan(config, progress)
    with work_folder(config.out, plan.build_id, overwrite and not config.shard_range) as place:
        overwrite = overwrite and not place.staged
        return _build_in(replace(config, out=place.folder), plan, progress, overwrite)


def _build_in(
    config: BuildConfig, plan: Plan, progress: Progress, overwrite: bool
) -> dict[str, Any]:
    if (finished := begin(config, plan, progress, overwrite)) is not None:
        return finished
    for source, split in absent_splits(plan):
        progress.log(f"{source}: no {split} split here, skipped")
    with event_log(config.out) as log, closing(get_engine(config.engine, config.workers)) as engine:
        return _run(config, plan, Stages(config, engine, progress, log))


def begin(
    config: BuildConfig, plan: Plan, progress: Progress, overwrite: bool
) -> dict[str, Any] | None:
    """Make the build folder ready for a plan, and mark it as an unfinished build.

    Args:
        config: of the build; `config.out` is the folder.
        plan: the plan of the build.
        progress: shows that there is nothing to do.
        overwrite: remove a build that is in the folder, of any plan.

    Returns:
        The manifest if the folder contains the finished build of this plan, else None.

    Raises:
        UsageError: the folder contains another build, or something that is no build.
    """
    prepare(config, plan, overwrite)
    # A second run of a finished build ends here, without a change to any file.
    finished = finished_manifest(config.out)
    if finished is None:
        mark_unfinished(config.out)
    else:
        # A run that was killed at its very end has not tidied up.
        tidy_up(config.out)
        progress.log(f"{config.out} is complete; nothing to do.")
    return finished


def prepare(config: BuildConfig, plan: Plan, overwrite: bool) -> None:
    """Check that the build folder can be used for a plan; remove an earlier build if asked to.

    Args:
        config: of the build; `config.out` is the folder.
        plan: the plan of the build.
        overwrite: remove a build that is in the folder, of any plan.

    Raises:
        UsageError: the folder contains another build, or something that is no build.
    """
    out = config.out
    stored = stored_plan(out)
    # A build that was interrupted before it stored its plan has the card of an unfinished build.
    if not holds_earlier(out, "build", lambda folder: stored is not None or is_unfinished(folder)):
        return
    if stored is None or overwrite:
        remove_build(out)
    elif stored["build_id"] != plan.build_id:
        lines = differences(stored["identity"], plan.identity)
        raise UsageError(
            f"{out} holds another build. What differs (there -> asked for):\n"
            + "\n".join(f"  {line}" for line in lines),
            "Build into another folder with --out, or replace that one with --overwrite.",
        )


def check_unchanged(out: Path, plan: Plan, again: Plan) -> None:
    """Check that the inputs of a build did not change while it was reading them.

    Args:
        out: the build folder; if they did, what was read of them is removed.
        plan: made before reading.
        again: made after reading.

    Raises:
        InputError: the two plans differ; the message names the files and folders.
    """
    lines = differences(plan.identity, again.identity)
    if lines:
        # Nobody knows which tasks have read which content, so none of them is done.
        remove_build(out)
        raise InputError(
            "inputs changed while they were read (before -> now):\n"
            + "\n".join(f"  {line}" for line in lines),
            "Run the same command again; it reads them as they are then.",
        )


class Stages:
    """Runs the tasks of each stage on an engine and reports their progress.

    Args:
        config: of the build; its shard range selects the tasks of this run.
        engine: runs the tasks.
        progress: shows how many images or rows are done.
        log: adds an event and its values to the build's log.
    """

    def __init__(
        self, config: BuildConfig, engine: Engine, progress: Progress, log: Callable[..., None]
    ) -> None:
        self.config = config
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
    ) -> list[Commit] | None:
        """Run those tasks of a stage that belong to this run.

        Args:
            stage: name of the stage in progress and log.
            tasks: all tasks of the stage.
            work: runs one task and returns its commit record.
            sizes: size of each task in `unit`.
            unit: what progress counts, such as `images`.

        Returns:
            The record of every task, in the order of `tasks`. None if a shard range leaves tasks to
            other runs that have not finished them.
        """
        size_of = {task.name: size for task, size in zip(tasks, sizes, strict=True)}
        share = list(tasks)
        if self.config.shard_range:
            at, of = self.config.shard_range
            # Every `of`-th task and not a block of them: adjacent tasks belong to one source or
            # table and take about the same time, so all shares get some of each.
            share = share[at::of]
        records: dict[str, Commit | None] = {}
        self.progress.start(stage, sum(size_of[task.name] for task in share), unit)
        for record in self._engine.run(work, share):
            records[record.task] = record
            self.progress.advance(size_of[record.task])
            self.log(stage, task=record.task, files=len(record.files))
        self.progress.finish()
        for task in tasks:
            if task.name not in records:
                records[task.name] = done_elsewhere(self.config.out, task.name)
        # Tasks end in any order. The next stage gets their records in the order of the plan, so
        # the result does not depend on timing or on the number of workers.
        in_order = [records[task.name] for task in tasks]
        complete = [record for record in in_order if record is not None]
        return complete if len(complete) == len(in_order) else None


def _run(config: BuildConfig, plan: Plan, stages: Stages) -> dict[str, Any]:
    """Run all stages; return the manifest, or what a run of a shard range returns instead."""
    stages.log("begin", build_id=plan.build_id)
    reads = _read(config, plan, stages)
    if reads is None:
        return _waiting(config, "reading", stages.progress)
    check_rejects(config.out, parse_limit(config.max_rejects), reads)
    paired = _pair(config, plan, reads)
    stages.log("paired", rows={name: item.get("pairs") for name, item in paired.counts.items()})
    manifest = write_and_finalize(config, plan, stages, reads, paired)
    return _waiting(config, "writing", stages.progress) if manifest is None else manifest


def write_and_finalize(
    config: BuildConfig, plan: Plan, stages: Stages, reads: Sequence[Commit], paired: Commit
) -> dict[str, Any] | None:
    """Run the stages after pairing.

    Args:
        config: of the build.
        plan: the plan of the build.
        stages: runs the write tasks.
        reads: commit records of the read tasks.
        paired: commit record of pairing.

    Returns:
        The manifest; None if a shard range leaves shards to other runs that have not finished them.
    """
    tasks = write_tasks(config, paired)
    sizes = [task.stop - task.start for task in tasks]
    written = stages.run("writing", tasks, run_write, sizes, "rows")
    if written is None:
        return None
    manifest = finalize(config, plan, reads, paired, written)
    for warning in manifest["warnings"]:
        stages.log("warning", **warning)
    stages.log("end", build_id=plan.build_id)
    return manifest


def read_and_pair(
    config: BuildConfig, plan: Plan, progress: Progress
) -> tuple[list[Commit], Commit]:
    """Run the stages before writing, without a log.

    Args:
        config: of the build, without a shard range.
        plan: the plan of the build.
        progress: shows the progress of reading.

    Returns:
        The commit records of the read tasks and of pairing.

    Raises:
        InputError: a source is unreadable as a whole, or there is no admissible sample.
        EnvironmentFault: the engine is not installed, or a worker process died.
    """
    with closing(get_engine(config.engine, config.workers)) as engine:
        stages = Stages(config, engine, progress, lambda event, **values: None)
        reads = _read(config, plan, stages)
    assert reads is not None  # None occurs only with a shard range
    return reads, _pair(config, plan, reads)


def _read(config: BuildConfig, plan: Plan, stages: Stages) -> list[Commit] | None:
    """Plan the read shards, store the plan, and run the read tasks.

    Raises:
        InputError: a source is unreadable as a whole, or a file changed while it was read.
    """
    shards = read_shards(config, plan)
    store_plan(config.out, plan, shards)
    filters = Filters(config.min_object_area, config.min_part_area, frozenset(config.classes))
    described = {source.name: source.described for source in plan.sources}
    tasks = [
        ReadTask(config.out, shard, filters, config.profile, described[shard.source])
        for shard in shards
    ]
    sizes = [shard.stop - shard.start for shard in shards]
    try:
        reads = stages.run("reading", tasks, run_read, sizes, "images")
    except Exception:
        # A file that changed explains the error better than what a reader says about its content.
        check_unchanged(config.out, plan, make_plan(config))
        raise
    check_unchanged(config.out, plan, make_plan(config))
    return reads


def _pair(config: BuildConfig, plan: Plan, reads: list[Commit]) -> Commit:
    """Run the pairing stage.

    Raises:
        InputError: there is no admissible sample.
    """
    paired = run_pair(config, reads)
    if not any(counts.get("pairs") for counts in paired.counts.values()):
        raise InputError(
            "no pair of comparable objects is left after reading, so there is no dataset:\n"
            + "\n".join(f"  {item['text']}" for item in build_warnings(plan, reads, paired)[:-1])
            + f"\nRejected records:\n{_reject_lines(reads)}",
            "Check the source folders, or lower --min-object-area.",
        )
    return paired


def _waiting(config: BuildConfig, stage: str, progress: Progress) -> dict[str, Any]:
    """Report that other runs have not finished their tasks of a stage, and return the same."""
    assert config.shard_range is not None
    at, of = config.shard_range
    progress.log(
        f"{stage}: share {at}/{of} is done, other shares are not. Run this command again when they"
        " are; the command without --shard-range does all that is left."
    )
    return {"waiting": stage, "shard_range": [at, of]}


def _reject_lines(reads: Sequence[Commit]) -> str:
    """Return one line for each reason of rejection, with the number of records."""
    reasons: dict[str, int] = {}
    for record in reads:
        for reason, number in record.counts["rejects"].items():
            reasons[reason] = reasons.get(reason, 0) + number
    return "\n".join(f"  rejected, {r}: {n}" for r, n in sorted(reasons.items())) or "  none"


@contextmanager
def event_log(out: Path) -> Iterator[Callable[..., None]]:
    """Yield a function that adds an event with its values to the build's log, one JSON a line."""
    # The log is the only file of a build that contains times: all others depend on the plan alone.
    path = out / PLAN.parent / "log.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_to_append(path) as handle:

        def log(event: str, **values: Any) -> None:
            LOG.info("%s %s", event, values)
            line = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "event": event, **values}
            handle.write(json.dumps(line) + "\n")
            # Line by line, so that the log of a killed run ends with its last event.
            handle.flush()

        yield log
