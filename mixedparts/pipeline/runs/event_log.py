"""The log of a build (`_build/log.jsonl`): one JSON object a line, by whom and when.

All runs of a build append to one file, also at the same time and from several machines. It is the
only file of a build with times and names of machines; nothing but `mixedparts status` and
`mixedparts finalize` reads it.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mixedparts.exit_codes import failure_message
from mixedparts.files.opening import open_to_append
from mixedparts.storage.build_folder import PLAN

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOG = logging.getLogger("mixedparts.pipeline.build")
EVENTS = PLAN.parent / "log.jsonl"
AddEvent = Callable[..., None]


@contextmanager
def event_log(out: Path, share: str | None = None) -> Iterator[AddEvent]:
    """Yield a function that adds an event with its values to the build's log.

    An error that leaves the block is logged as the event `stopped`.

    Args:
        out: the build folder.
        share: of this run, such as `1/4`; None for a run of the whole build.

    Yields:
        The function; it takes the event and, by name, its values.

    Raises:
        EnvironmentFault: the log cannot be written.
    """
    path = out / EVENTS
    path.parent.mkdir(parents=True, exist_ok=True)
    run: dict[str, Any] = {"host": socket.gethostname(), "process": os.getpid()}
    if share is not None:
        run["share"] = share
    with open_to_append(path) as handle:
        _end_last_line(path, handle.fileno())

        def log(event: str, **values: Any) -> None:
            LOG.info("%s %s", event, values)
            # In UTC: machines of one build can be in several time zones.
            moment = time.strftime("%Y-%m-%dT%H:%M:%S+0000", time.gmtime())
            line = {"time": moment, "event": event, **run, **values}
            _append(handle.fileno(), json.dumps(line) + "\n")

        try:
            yield log
        except BaseException as error:
            # The error itself must reach the user, even where the log cannot be written any more.
            with suppress(OSError):
                log("stopped", error=_text_of(error))
            raise


def read_events(out: Path) -> Iterator[dict[str, Any]]:
    """Yield the events in the log of a build, in the order in which they were added."""
    try:
        with open(out / EVENTS, "rb") as handle:
            yield from parse_events(handle)
    except OSError:
        return


def parse_events(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the events of lines of a log; lines that are damaged are left out."""
    for line in lines:
        with suppress(ValueError, RecursionError):
            event = json.loads(line)
            if isinstance(event, dict) and isinstance(event.get("event"), str):
                yield event


def _text_of(error: BaseException) -> str:
    """Return the message that the user gets for what ended a run."""
    return failure_message(error)[0] if isinstance(error, Exception) else "interrupted"


def _append(descriptor: int, text: str) -> None:
    """Write a text to the end of a file in one piece."""
    # One call of the system for one line, so that lines of several processes do not mix. On a
    # network file system that is not enough: two machines can take the same end of the file. The
    # lock makes the second one look for the end again.
    with _locked(descriptor):
        _write_all(descriptor, text.encode())


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


@contextmanager
def _locked(descriptor: int) -> Iterator[None]:
    """Hold the lock of an open file, where the file system has locks."""
    held = False
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            held = True
    try:
        yield
    finally:
        if held:
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def _end_last_line(path: Path, descriptor: int) -> None:
    """End a line that a full disk or a crash of the machine has cut off."""
    # With the lock: without it, the line may be one that another process is writing.
    with _locked(descriptor), open(path, "rb") as handle:
        if handle.seek(0, os.SEEK_END) == 0:
            return
        handle.seek(-1, os.SEEK_END)
        if handle.read(1) != b"\n":
            _write_all(descriptor, b"\n")
