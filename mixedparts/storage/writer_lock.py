"""One writer at a time: a lock for everything that writes a folder or a file over some time.

The lock is a file beside what is written (`.NAME.lock`). The system holds it for the process and
gives it up when the process ends, by whatever signal, so a lock of a dead process never blocks. A
second file (`.NAME.writer`) names the process that holds it, for the message. Both are removed when
no process writes.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from mixedparts.errors import EnvironmentFault, InputError
from mixedparts.files.folders import list_folder
from mixedparts.files.text import read_own_json
from mixedparts.settings.local_paths import check_local

_TRIES = 20
_PAUSE = 0.05  # seconds between two tries
_SHARE = ".share-"  # in the lock's name, before that of a share
_STEP = ".step-"  # likewise, before that of a step
_TURN_PAUSE = 0.2  # seconds between two looks whether a step is free


class Writer(msgspec.Struct, frozen=True):
    """Who holds a lock.

    Attributes:
        host: name of the machine.
        process: process id on that machine.
        command: its command line.
        since: UTC, to the second, ISO 8601.
    """

    host: str
    process: int
    command: str
    since: str


@contextmanager
def writing(place: Path, note: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the lock of a folder or file while the block runs.

    Args:
        place: what is written; it need not exist.
        note: gets a line if the file system offers no locks; the block runs all the same. None:
            the line goes to stderr.

    Raises:
        EnvironmentFault: another process writes there; the message says which and since when.
    """
    check_local(place)
    place = place.resolve()
    with ExitStack() as stack:
        stack.enter_context(_held(place, "", note))
        # Only runs of shard ranges share a folder.
        for other in _share_locks(place):
            stack.enter_context(_held(place, other, note))
        yield


@contextmanager
def sharing(place: Path, share: str, note: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the lock of one share of a folder that several processes write together.

    Args:
        place: the folder.
        share: name of the share, such as `1-4`; each has one writer.
        note: as in `writing`.

    Yields:
        None, once the lock is held.

    Raises:
        EnvironmentFault: another process writes this share, or the folder as a whole.
    """
    check_local(place)
    place = place.resolve()
    with _held(place, f"{_SHARE}{share}", note):
        # A moment is enough: who wants the whole folder must get this share's lock too. One share
        # after the other, so that hundreds that start together do not refuse each other.
        with in_turn(place, "start"), _held(place, "", note, tries=_TRIES):
            pass
        yield


@contextmanager
def in_turn(place: Path, step: str) -> Iterator[None]:
    """Hold the lock of a step that runs of several shares take one after the other.

    Args:
        place: the folder; the caller holds the lock of a share of it.
        step: name of the step, such as `pairing`.

    Yields:
        None, once no other process is in this step.
    """
    check_local(place)
    place = place.resolve()
    with ExitStack() as stack:
        while True:
            try:
                # Where the file system has no locks, the caller's share has reported it.
                stack.enter_context(_held(place, f"{_STEP}{step}", lambda line: None))
                break
            except EnvironmentFault:
                time.sleep(_TURN_PAUSE)
        yield


def writers(place: Path) -> list[tuple[str, Writer]]:
    """Return who writes a folder now, each with its share, which is empty for the whole folder.

    Processes of this machine that have ended are left out; those of others cannot be seen, so a
    writer that was killed there is listed until its lock is taken again.
    """
    place = place.resolve()
    present = (
        (share, _described(_writer_of(place, share))) for share in ("", *_share_locks(place))
    )
    return [
        (share.removeprefix(_SHARE), writer)
        for share, writer in present
        if writer is not None and not _is_gone(writer)
    ]


def _writer_of(place: Path, share: str) -> Path:
    return place.parent / f".{place.name}{share}.writer"


def _share_locks(place: Path) -> list[str]:
    """Return the names of the shares of a folder that have a lock file."""
    # Not any further part of a name: `run.json` beside a folder `run` is no share of it.
    start = f".{place.name}{_SHARE}"
    try:
        names = [entry.name for entry in list_folder(place.parent)]
    # It does not exist yet, or may not be listed: whether it may be written is found out later.
    except InputError:
        return []
    inner = [name[len(start) : -len(".lock")] for name in names if name.startswith(start)]
    shares = [share for share in sorted(inner) if share and f"{start}{share}.lock" in names]
    return [f"{_SHARE}{share}" for share in shares]


@contextmanager
def _held(
    place: Path, share: str, note: Callable[[str], None] | None, tries: int = 1
) -> Iterator[None]:
    """Hold one lock file while the block runs.

    Raises:
        EnvironmentFault: another process holds it, after so many tries.
    """
    path = place.parent / f".{place.name}{share}.lock"
    writer = _writer_of(place, share)
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _acquire(lock, path, tries)
    except Timeout:
        raise _busy(place, writer) from None
    # Not every file system has locks, and not every folder's parent may be written.
    except (OSError, NotImplementedError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        line = f"{place}: no lock can be held here ({reason}); run no other command that writes it"
        print(line, file=sys.stderr) if note is None else note(line)
        yield
        return
    try:
        _describe(writer)
        yield
    finally:
        # While it is held: another process that opened the file meanwhile notices that it is gone.
        with suppress(OSError):
            writer.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        lock.release()


def _acquire(lock: FileLock, path: Path, tries: int) -> None:
    """Lock the file that has this name now.

    Raises:
        Timeout: another process holds the lock.
        OSError: the file cannot be created or locked.
    """
    for attempt in range(_TRIES):
        try:
            path.touch()
            before = path.stat().st_ino
            lock.acquire(timeout=0)
        except FileNotFoundError:
            continue
        except Timeout:
            if attempt + 1 >= tries:
                raise
            time.sleep(_PAUSE)
            continue
        # The last holder removes the file: a lock on a file without a name would protect nothing.
        with suppress(OSError):
            if path.stat().st_ino == before:
                return
        lock.release()
    raise Timeout(str(path))


def _describe(path: Path) -> None:
    """Write who holds the lock; without the file the message has no name in it."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    writer = Writer(socket.gethostname(), os.getpid(), command, since)
    with suppress(OSError):
        path.write_text(json.dumps(msgspec.to_builtins(writer)) + "\n", encoding="utf-8")


def _busy(place: Path, path: Path) -> EnvironmentFault:
    """Return the error for a place that another process writes."""
    hint = "Wait until it has ended, or write to another place."
    # The holder has the lock for a moment before it describes itself. In that moment there is no
    # description, or that of a writer that was killed.
    for _ in range(_TRIES):
        writer = _described(path)
        if writer is not None and not _is_gone(writer):
            break
        time.sleep(_PAUSE)
    if writer is None:
        return EnvironmentFault(f"another process is writing {place}", hint)
    return EnvironmentFault(
        f"another process is writing {place}: {writer.command} (process {writer.process} on"
        f" {writer.host}, since {writer.since})",
        hint,
    )


def _described(path: Path) -> Writer | None:
    """Return who holds a lock, None if the file is missing or half written."""
    try:
        return msgspec.convert(read_own_json(path), Writer)
    except msgspec.ValidationError:
        return None


def _is_gone(writer: Writer) -> bool:
    """Return whether a writer on this machine has ended."""
    if writer.host != socket.gethostname():
        return False
    try:
        os.kill(writer.process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # it belongs to another user, or is no process id
        return False
    return False
