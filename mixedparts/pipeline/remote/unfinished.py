"""A build in object storage, finished or not, as a status and `mixedparts finalize` read it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mixedparts.pipeline.remote.place import LOGS, stored_json
from mixedparts.pipeline.runs.event_log import EVENTS, parse_events
from mixedparts.remote.store import Store
from mixedparts.storage.build_folder import PLAN
from mixedparts.storage.shards import COMMITS
from mixedparts.storage.writer_lock import Writer


class InStorePlace:
    """A place of a build below an address (`mixedparts.pipeline.runs.build_place.BuildPlace`).

    Args:
        address: such as `s3://bucket/folder`.
    """

    def __init__(self, address: str) -> None:
        self.name = address
        self._store = Store(address)

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a small object; None if it is not there.

        Raises:
            InputError: there is no such bucket.
            EnvironmentFault: the storage cannot be reached or refuses access.
        """
        return self._store.read([name]).get(name)

    def log_lines(self) -> Iterable[bytes]:
        """Yield the lines of the log of the build, and of those of the machines that began it."""
        for log in stored_logs(self._store).values():
            yield from log.splitlines()

    def recorded(self) -> set[str]:
        """Return the names of all tasks that have a commit record."""
        listed = self._store.listing(COMMITS.as_posix())
        return {name.rpartition("/")[2].removesuffix(".json") for name in listed}

    def writers(self) -> list[tuple[str, Writer]]:
        """Return nothing: who writes now does not show in object storage."""
        return []


def stored_logs(store: Store) -> dict[str, bytes]:
    """Return the logs of a build by name: the whole one, and one for each machine."""
    names = [EVENTS.as_posix(), *store.listing(LOGS)]
    return store.read(names)


def log_of_machine() -> str:
    """Return the name of the log of this machine, while a build is unfinished."""
    return f"{LOGS}/{socket.gethostname()}.jsonl"


def add_other_logs(store: Store, log: Path) -> None:
    """Add the events of other machines and of earlier builds to the log of this machine."""
    for name, content in stored_logs(store).items():
        if name != log_of_machine():
            lines = b"".join(line + b"\n" for line in content.splitlines())
            with log.open("ab") as handle:
                handle.write(lines)


def merged_log(logs: Iterable[bytes]) -> bytes:
    """Return logs as one, in the order of time."""
    events = [event for log in logs for event in parse_events(log.splitlines())]
    events.sort(key=lambda event: str(event.get("time")))
    return "".join(f"{json.dumps(event)}\n" for event in events).encode()


def stored_in(address: str) -> tuple[dict[str, Any] | None, Iterator[dict[str, Any]]]:
    """Return the plan of a build at an address, and the events of its logs.

    Raises:
        InputError: there is no such bucket.
        EnvironmentFault: the storage cannot be reached or refuses access.
    """
    store = Store(address)
    plan = stored_json(store, PLAN.as_posix())
    if plan is None or not isinstance(plan.get("identity"), dict):
        return None, iter(())
    return plan, parse_events(merged_log(stored_logs(store).values()).splitlines())
