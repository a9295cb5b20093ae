"""How a shard comes to be on disk: written beside, flushed, read back, renamed, then committed.

A shard task is a pure function of the plan. Its commit record (`_build/commits/NAME.json`) lists
the files it wrote with rows, bytes and sha256; a task whose files still match is never run again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

COMMITS = Path("_build/commits")
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """One file of a finished task; `path` is relative to the task's base, POSIX separators."""

    path: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Commit:
    """What a finished task wrote, and what it counted on the way.

    Attributes:
        task: name of the task, unique in its build.
        counts: numbers that add up over tasks (images, entities, dropped, rejects by reason).
    """

    task: str
    files: tuple[WrittenFile, ...]
    counts: Mapping[str, Any] = field(default_factory=dict)


@contextmanager
def written_beside(target: Path, flush: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on success flush it to disk and rename it.

    The temporary file is removed when anything goes wrong. Working files do without the flush: a
    crash of the machine that cuts one is seen by its hash.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        if flush:
            with temporary.open("rb") as handle:
                os.fsync(handle.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with written_beside(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any) -> None:
    """Write a JSON file whole or not at all; keys sorted, so equal values give equal bytes."""
    write_text(target, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def sha256_of(path: Path) -> str:
    """Return the hex digest of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def write_shard(
    base: Path,
    relative: str,
    write: Callable[[Path], int],
    count_rows: Callable[[Path], int],
    flush: bool = True,
) -> WrittenFile:
    """Write one output file of a task.

    Args:
        base: the folder that the output's name starts from.
        relative: name of the output in it.
        write: writes the file at the path it is given and returns the rows it wrote.
        count_rows: opens a written file and returns the rows it finds.

    Raises:
        OSError: the file that was read back holds another number of rows.
    """
    target = base / relative
    with written_beside(target, flush) as temporary:
        rows = write(temporary)
        found = count_rows(temporary)
        if found != rows:
            raise OSError(f"{target}: wrote {rows} rows, read {found} back")
        written = WrittenFile(relative, rows, temporary.stat().st_size, sha256_of(temporary))
    return written


def commit(build: Path, record: Commit) -> Commit:
    """Write a task's commit record, the last thing a task does."""
    write_json(build / COMMITS / f"{record.task}.json", asdict(record))
    return record


def committed(build: Path, task: str, *bases: Path) -> Commit | None:
    """Return the record of a task whose files are all there with matching hashes, else None.

    Args:
        bases: folders that the files may lie under.
    """
    record = read_commit(build, task)
    if record is None:
        return None
    for written in record.files:
        if not any(intact(base, written) for base in bases):
            return None
    return record


def read_commit(build: Path, task: str) -> Commit | None:
    """Return a task's commit record as it stands, without looking at its files."""
    try:
        value = json.loads((build / COMMITS / f"{task}.json").read_bytes())
        files = tuple(WrittenFile(**item) for item in value["files"])
        return Commit(value["task"], files, value["counts"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def intact(base: Path, written: WrittenFile) -> bool:
    """Say whether a file is there with the size and the hash that its record states."""
    path = base / written.path
    try:
        return path.stat().st_size == written.bytes and sha256_of(path) == written.sha256
    except OSError:
        return False
