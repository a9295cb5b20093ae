"""Where a build is made: in its folder, or in a scratch folder beside a place of another kind.

The stages always work on a local folder. What they have written is handed to the destination, and
what another machine has written comes from it. `mixedparts.pipeline.remote` has the destination for
object storage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.finalize import finalize
from mixedparts.pipeline.pair import run_pair
from mixedparts.pipeline.plan import Plan
from mixedparts.pipeline.read import ReadTask
from mixedparts.pipeline.replacement import remove_build
from mixedparts.pipeline.runs.event_log import read_events
from mixedparts.pipeline.runs.shares import (
    FINISH,
    check_intact,
    finished_by_another,
    recorded_names,
    sized_record,
)
from mixedparts.pipeline.write import WriteTask
from mixedparts.storage.build_folder import stored_manifest
from mixedparts.storage.shards import Commit
from mixedparts.storage.writer_lock import in_turn

T = TypeVar("T", ReadTask, WriteTask)


class Destination(Protocol):
    """Keeps the finished tasks of a build.

    Attributes:
        name: folder or address, for messages.
    """

    name: str

    def work(self, run: Callable[[T], Commit], needs: Sequence[Commit]) -> Callable[[T], Commit]:
        """Return the function that an engine calls for each task; it can be pickled.

        Args:
            run: runs one task in a local folder.
            needs: tasks of earlier stages, whose files `run` reads.
        """
        ...

    def known(self, tasks: Sequence[str]) -> dict[str, Commit]:
        """Return the records of finished tasks that no engine needs to look at, by name."""
        ...

    def finished(self, tasks: Sequence[str]) -> dict[str, Commit]:
        """Return the records of the tasks that any run has finished, by name."""
        ...

    def recorded(self) -> set[str]:
        """Return the names of all tasks that have a commit record, from one listing."""
        ...

    def events(self) -> Iterable[Mapping[str, Any]]:
        """Yield the events of the logs of all runs."""
        ...

    def keep_log(self) -> None:
        """Let others see the log of this run; called after every task."""
        ...

    def store_plan(self) -> None:
        """Keep the plan, which is in the local folder."""
        ...

    def bring_rejects(self, reads: Sequence[Commit]) -> None:
        """Make the rejects of read tasks present in the local folder."""
        ...

    def pair(self, config: BuildConfig, reads: list[Commit]) -> Commit:
        """Run the pairing stage, and return its record."""
        ...

    def finalize(
        self,
        config: BuildConfig,
        plan: Plan,
        reads: Sequence[Commit],
        paired: Commit,
        written: list[Commit],
    ) -> dict[str, Any]:
        """Run the last step of a build.

        Args:
            config: of the build.
            plan: the plan of the build.
            reads: commit records of all read tasks.
            paired: commit record of pairing.
            written: commit records of all write tasks, each with one shard.

        Returns:
            The manifest.
        """
        ...

    def discard(self) -> None:
        """Remove all that is finished: it was read from files that have changed."""
        ...


class OnDisk:
    """The build folder itself.

    Args:
        build: the folder.
    """

    def __init__(self, build: Path) -> None:
        self.name = str(build)
        self._build = build

    def work(self, run: Callable[[T], Commit], needs: Sequence[Commit]) -> Callable[[T], Commit]:
        """Return the function as it is: a task finds all files in the folder."""
        return run

    def known(self, tasks: Sequence[str]) -> dict[str, Commit]:
        """Return nothing: a task finds out by itself, in a worker, whether it is done."""
        return {}

    def finished(self, tasks: Sequence[str]) -> dict[str, Commit]:
        """Return the records of the tasks that any run has finished, by name."""
        records = ((name, sized_record(self._build, name)) for name in tasks)
        return {name: record for name, record in records if record is not None}

    def recorded(self) -> set[str]:
        """Return the names of all tasks that have a commit record, from one listing."""
        return recorded_names(self._build)

    def events(self) -> Iterable[Mapping[str, Any]]:
        """Yield the events of the log."""
        return read_events(self._build)

    def keep_log(self) -> None:
        """Do nothing: the log is in the folder."""

    def store_plan(self) -> None:
        """Do nothing: the plan is in the folder."""

    def bring_rejects(self, reads: Sequence[Commit]) -> None:
        """Do nothing: the files are in the folder."""

    def pair(self, config: BuildConfig, reads: list[Commit]) -> Commit:
        """Run the pairing stage, and return its record.

        Raises:
            EnvironmentFault: files that another share has written are damaged.
        """
        if config.shard_range is None:
            return run_pair(config, reads)
        # One share pairs, and the others find its record. It is also the one that checks what all
        # have read: working files are not flushed, so a crash of their machine can damage them.
        with in_turn(self._build, "pairing"):
            if sized_record(self._build, "pair") is None:
                check_intact(self._build, reads)
            return run_pair(config, reads)

    def finalize(
        self,
        config: BuildConfig,
        plan: Plan,
        reads: Sequence[Commit],
        paired: Commit,
        written: list[Commit],
    ) -> dict[str, Any]:
        """Run the last step of a build.

        Args:
            config: of the build.
            plan: the plan of the build.
            reads: commit records of all read tasks.
            paired: commit record of pairing.
            written: commit records of all write tasks, each with one shard.

        Returns:
            The manifest.
        """
        if config.shard_range is None:
            return finalize(config, plan, reads, paired, written)
        with in_turn(self._build, FINISH):
            if finished_by_another(self._build, plan.build_id):
                return stored_manifest(self._build) or {}
            return finalize(config, plan, reads, paired, written)

    def discard(self) -> None:
        """Remove the build from the folder."""
        remove_build(self._build)


def by_name(records: Iterable[Commit]) -> dict[str, Commit]:
    """Return commit records by the names of their tasks."""
    return {record.task: record for record in records}
