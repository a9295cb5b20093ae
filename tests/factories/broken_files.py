"""What can stand in the place of a file that a program reads: broken text, a folder, a pipe."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_DEPTH = 100_000


def _text(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "inner").touch()


BROKEN: dict[str, Callable[[Path], None]] = {
    "nested lists": _text(b"[" * _DEPTH + b"]" * _DEPTH),
    "nested objects": _text(b'{"a":' * _DEPTH + b"1" + b"}" * _DEPTH),
    "a list": _text(b"[1, 2]"),
    "a number": _text(b"5"),
    "null": _text(b"null"),
    "nothing": _text(b""),
    "zero bytes": _text(b"\0" * 64),
    "another encoding": _text(b'{"a": "\xe9"}'),
    "wrong types": _text(
        b'{"shards": [1], "build_id": [], "task": 5, "files": {"a": 1}, "counts": [], "url": 1,'
        b' "identity": [], "last_build": [], "of": 1, "file": 1, "step": "x", "checkpoint": 5,'
        b' "weight_map": {"a": 1}, "format": 1, "root": 5}'
    ),
    "a folder": _folder,
    "a pipe": lambda path: os.mkfifo(path),
    "a link to itself": lambda path: path.symlink_to(path.name),
}
"""Name of a fault -> what puts it where no file is."""


def put(path: Path, fault: str) -> None:
    """Replace a file by what a fault of `BROKEN` puts in its place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    BROKEN[fault](path)


@contextmanager
def ends_within(seconds: int) -> Iterator[None]:
    """Fail if the block takes longer, as a reader does that waits for the writer of a pipe."""

    def late(*_: object) -> None:
        raise AssertionError(f"it has not ended after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
