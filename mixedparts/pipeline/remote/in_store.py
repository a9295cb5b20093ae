"""The destination of a build in object storage."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mixedparts.errors import MixedPartsError, UsageError
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.destination import T
from mixedparts.pipeline.pair import run_pair
from mixedparts.pipeline.plan import Plan, differences
from mixedparts.pipeline.remote.finish import finish
from mixedparts.pipeline.remote.place import remove_objects, stored_json
from mixedparts.pipeline.remote.sources import Addresses
from mixedparts.pipeline.remote.tasks import RunInStore, bring, finished_tasks, is_shard, publish
from mixedparts.pipeline.remote.unfinished import log_of_machine, stored_logs
from mixedparts.pipeline.replacement import remove_build
from mixedparts.pipeline.runs.event_log import EVENTS, parse_events
from mixedparts.remote.store import Store
from mixedparts.storage.build_folder import PLAN, stored_plan
from mixedparts.storage.shards import COMMITS, Commit, WrittenFile

_LOG_SECONDS = 30.0  # between two uploads of the log


class InStore:
    """Keeps the finished tasks of a build as objects below an address.

    Args:
        store: of the build.
        build: the scratch folder of this machine.
        build_id: of the build.
        sources: name and address of each source that is at one.
    """

    def __init__(self, store: Store, build: Path, build_id: str, sources: Addresses = ()) -> None:
        self.name = store.address
        self._sources = sources
        self._store = store
        self._build = build
        self._build_id = build_id
        self._log_kept = 0.0

    def work(self, run: Callable[[T], Commit], needs: Sequence[Commit]) -> Callable[[T], Commit]:
        """Return a function that runs a task on any machine; see `Destination.work`."""
        files, host = _working_files(needs), socket.gethostname()
        return RunInStore(self._store, self._build_id, run, files, self._sources, host)

    def known(self, tasks: Sequence[str]) -> dict[str, Commit]:
        """Return the records of the tasks that are done, so that no worker asks for each."""
        return finished_tasks(self._store, self._build, tasks)

    def finished(self, tasks: Sequence[str]) -> dict[str, Commit]:
        """Return the records of the tasks that any run on any machine has finished, by name."""
        return finished_tasks(self._store, self._build, tasks)

    def recorded(self) -> set[str]:
        """Return the names of all tasks that have a commit record, from one listing."""
        listed = self._store.listing(COMMITS.as_posix())
        return {name.rpartition("/")[2].removesuffix(".json") for name in listed}

    def events(self) -> Iterable[Mapping[str, Any]]:
        """Yield the events of the logs of all machines, as they have kept them last."""
        for log in stored_logs(self._store).values():
            yield from parse_events(log.splitlines())

    def keep_log(self) -> None:
        """Keep the log as an object, every `_LOG_SECONDS`."""
        if time.monotonic() - self._log_kept < _LOG_SECONDS:
            return
        self._log_kept = time.monotonic()
        # A fault that lasts will end the next task; the log is not worth the run.
        with suppress(MixedPartsError):
            self._store.put({log_of_machine(): self._build / EVENTS})

    def store_plan(self) -> None:
        """Keep the plan as an object, which also claims the place for this build.

        Raises:
            UsageError: another build has claimed it in the meantime.
        """
        name = PLAN.as_posix()
        content = (self._build / PLAN).read_bytes()
        if self._store.create(name, content):
            return
        there, mine = stored_json(self._store, name), stored_plan(self._build)
        if there and mine and there.get("build_id") not in (None, mine["build_id"]):
            lines = differences(there.get("identity"), mine["identity"])
            raise UsageError(
                f"another build was started at {self._store.address} in the meantime. What differs"
                " (there -> asked for):\n" + "\n".join(f"  {line}" for line in lines),
                "Build into another folder with --out.",
            )
        if there != mine:
            self._store.write({name: content})

    def bring_rejects(self, reads: Sequence[Commit]) -> None:
        """Fetch the rejects of read tasks, which are needed at the end, or for a message."""
        files = _working_files(reads)
        bring(self._store, self._build, (f for f in files if f.path.startswith("rejects/")))

    def pair(self, config: BuildConfig, reads: list[Commit]) -> Commit:
        """Run the pairing stage, unless any run has done it, and return its record."""
        done = finished_tasks(self._store, self._build, ["pair"]).get("pair")
        if done is None:
            bring(self._store, self._build, _working_files(reads))
            done = publish(self._store, self._build, run_pair(config, reads))
        bring(self._store, self._build, _working_files([done]))
        return done

    def finalize(
        self,
        config: BuildConfig,
        plan: Plan,
        reads: Sequence[Commit],
        paired: Commit,
        written: list[Commit],
    ) -> dict[str, Any]:
        """Write what makes the objects a dataset.

        Args:
            config: of the build.
            plan: the plan of the build.
            reads: commit records of all read tasks.
            paired: commit record of pairing.
            written: commit records of all write tasks, each with one shard.

        Returns:
            The manifest.
        """
        return finish(self._store, self._build, plan, [*reads, paired], written)

    def discard(self) -> None:
        """Remove the objects of the build, and what is finished in the scratch folder."""
        remove_objects(self._store, self._store.listing())
        remove_build(self._build)


def _working_files(records: Sequence[Commit]) -> tuple[WrittenFile, ...]:
    return tuple(file for record in records for file in record.files if not is_shard(file))
