"""How the files of a build are written, and how a task records that it is done.

The contract of a shard, step by step:

1. It is written to a temporary file in the folder of its final name.
2. The temporary file is read back. It must have as many rows as were written; its size and SHA-256
   are noted.
3. The temporary file is flushed to disk.
4. It is renamed to its final name. A file of this name is therefore always a complete one.
5. When all files of a task are in place, its commit record is written (`_build/commits/TASK.json`):
   the files with rows, bytes and SHA-256, and what the task counted, with its own SHA-256.

A task is a pure function of the plan, so it does not matter which run or process executes it. A
build continues by this rule: a task whose record matches its files is done, and any other task runs
from its start. Nothing else marks progress. A killed process, a full disk, a crash of the machine
and a file that was changed later all end in the same case, a record that is missing or does not
match.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from mixedparts.files.opening import open_regular
from mixedparts.files.temporary import temporary_beside
from mixedparts.files.text import read_own_json
from mixedparts.settings.local_paths import check_local

COMMITS = Path("_build/commits")
_COUNTS_DIGEST = "counts_sha256"  # key of a commit record
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """One file of a finished task.

    Attributes:
        path: relative to the folder that the task writes to, POSIX separators.
        rows: number of rows that were read back.
        bytes: size in bytes.
        sha256: digest of the bytes, 64 hexadecimal digits.
    """

    # The field names are keys of commit records and of the manifest.

    path: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Commit:
    """Commit record of a finished task.

    Attributes:
        task: name of the task, unique in its build.
        files: what the task wrote.
        counts: what the task counted, such as images, entities, and rejects by reason.
    """

    # The field names are keys of the record's JSON.

    task: str
    files: tuple[WrittenFile, ...]
    counts: Mapping[str, Any] = field(default_factory=dict)


@contextmanager
def written_beside(target: Path, flush: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the folder of `target`; on success, flush and rename the file.

    The temporary file is removed if an exception leaves the block. Without `flush` the file is
    renamed at once: enough for files that a crash of the machine may damage, because their digest
    is checked or they can be made again.

    Raises:
        OSError: `target` is a folder or a device, or the file cannot be written.
        UsageError: `target` is an address.
    """
    check_local(target)
    _check_replaceable(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, because a rename is atomic only within one file system. The leading dot
    # hides the file from patterns such as `pairs/train-*`. The name is of this process alone: runs
    # on several machines can write the same file, such as those of the task `pair`.
    temporary = temporary_beside(target)
    try:
        yield temporary
        # Without the flush, a file system may store the new name before the contents, and a crash
        # in between would leave a file of the final name without its bytes.
        if flush:
            with temporary.open("rb") as handle:
                os.fsync(handle.fileno())
        temporary.replace(target)
    finally:
        # Does nothing after the rename.
        temporary.unlink(missing_ok=True)


def _check_replaceable(target: Path) -> None:
    """Check that a name may be given to another file.

    Raises:
        OSError: it is that of a folder or of a device: a rename of root would replace /dev/null.
    """
    try:
        mode = os.stat(target).st_mode
    except OSError:  # it is not there, or a link that leads nowhere
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(target))
    # A pipe alone is replaced; /dev/stdout is a link to one.
    special = not stat.S_ISREG(mode) and target.is_symlink()
    if special or stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise OSError(errno.EINVAL, "it is a device, not a file", str(target))


def write_text(target: Path, text: str) -> None:
    """Write a text file atomically: it is complete or unchanged."""
    with written_beside(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any) -> None:
    """Write a JSON file atomically, with sorted keys, so that equal values give equal bytes."""
    write_text(target, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes (hex), without reading the whole file into memory."""
    digest = hashlib.sha256()
    with open_regular(path) as handle:
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
    """Write one output file of a task by the contract of this module.

    Args:
        base: folder that the task writes to.
        relative: path of the file below it.
        write: writes the file to a path and returns the number of rows that it wrote.
        count_rows: opens a written file and returns its number of rows.
        flush: flush the file to disk before it gets its name; False for working files.

    Returns:
        The written file, with the digest that its commit record gets.

    Raises:
        OSError: the file cannot be written, or another number of rows was read back.
    """
    target = base / relative
    with written_beside(target, flush) as temporary:
        rows = write(temporary)
        # Reading back proves that the file can be opened and is complete, before it gets its name.
        rows_read = count_rows(temporary)
        if rows_read != rows:
            raise OSError(f"{target}: wrote {rows} rows, read {rows_read} back")
        written = WrittenFile(relative, rows, temporary.stat().st_size, sha256_of(temporary))
    return written


def commit(build: Path, record: Commit) -> Commit:
    """Write the commit record of a task and return it."""
    # This must be the last thing that a task does: the record states that its files are complete.
    content = {**asdict(record), _COUNTS_DIGEST: _counts_digest(record.counts)}
    write_json(build / COMMITS / f"{record.task}.json", content)
    return record


def committed(build: Path, task: str, *bases: Path) -> Commit | None:
    """Return the commit record of a task that is done; None if the task has to run.

    A task is done if each of its files is in one of the folders and matches its digest.

    Args:
        build: the build folder.
        task: name of the task.
        bases: folders that the files may be below; shards move while a build is finalized.

    Returns:
        The record, or None if there is none or a file is missing or damaged.
    """
    record = read_commit(build, task)
    if record is None:
        return None
    for written in record.files:
        if not any(intact(base, written) for base in bases):
            return None
    return record


def read_commit(build: Path, task: str) -> Commit | None:
    """Return the commit record of a task without checking its files; None if it is damaged."""
    value = read_own_json(build / COMMITS / f"{task}.json")
    try:
        record = msgspec.convert(value, Commit)
    except msgspec.ValidationError:
        return None
    # Files have digests of their own; nothing else shows that the counts are intact. Records of
    # earlier versions have none.
    digest = _counts_digest(record.counts)
    unchanged = value.get(_COUNTS_DIGEST, digest) == digest
    return record if unchanged and record.task == task else None


def _counts_digest(counts: Mapping[str, Any]) -> str:
    """Return the SHA-256 (hex) of what a task counted, equal before and after it was stored."""
    text = json.dumps(json.loads(json.dumps(counts)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def intact(base: Path, written: WrittenFile) -> bool:
    """Return whether a file has the recorded size and digest."""
    # The size first: it is known without reading the file.
    path = base / written.path
    try:
        return path.stat().st_size == written.bytes and sha256_of(path) == written.sha256
    except OSError:
        return False
