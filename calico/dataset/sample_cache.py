"""The compact form of a split's samples on disk, made once and mapped by every process.

Processes of one machine that train on the same build share the memory of the files. The cache is
in the user's cache folder, one folder for each split of a build folder. It is no part of a build:
where it cannot be written, each process keeps the samples in its own memory.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from filelock import FileLock, Timeout

from calico.dataset.columns import SampleColumns
from calico.dataset.compact import FILES, LEAVES, REPEATED, ROWS, write_compact
from mixedparts.files.cache import cache_folder
from mixedparts.files.folders import is_folder, list_folder
from mixedparts.files.text import read_own_json
from mixedparts.storage.build_folder import BuildFolder
from mixedparts.storage.copies import fetch
from mixedparts.storage.digest_cache import Stamp

_FORMAT = 1  # changes with the meaning of what `calico.dataset.compact` writes
_FOLDER = "samples"
_KEY = "key.json"
_LOCK = ".lock"
_TEMPORARY = ".tmp"
# Rows from which a file pays; fewer are read from Parquet in less than a second.
_LEAST_ROWS = 20_000
_CHUNK = 1 << 20
_log = logging.getLogger(__name__)


def columns_of_table(table: pa.Table) -> SampleColumns:
    """Return rows of `pairs` in the compact form.

    Raises:
        InputError: a row lacks a value, or a column has another type than the schema.
    """
    return _in_memory(iter(table.to_batches()))


def columns_of_build(build: BuildFolder, split: str) -> SampleColumns:
    """Return the samples of a split in the compact form, from the cache if they are there.

    Raises:
        InputError: a file of the build cannot be read, or a row is not valid.
    """
    if build.count("pairs", split) < _LEAST_ROWS:
        return _in_memory(_batches(build, split))
    try:
        return _cached(build, split)
    except OSError as error:
        _log.warning(
            "the samples of %s stay in the memory of each process: the cache cannot be written "
            "(%s); MIXEDPARTS_CACHE names another folder",
            build.path,
            error,
        )
        return _in_memory(_batches(build, split))


def _cached(build: BuildFolder, split: str) -> SampleColumns:
    """Return the samples from the cache, which is filled first if need be.

    Raises:
        OSError: the cache cannot be read or written.
    """
    place = f"{build.path.resolve()}\n{split}"
    folder = cache_folder() / _FOLDER / hashlib.sha256(place.encode()).hexdigest()[:20]
    key = _key(build, split)
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:20]
    # Before the lock, which needs a folder that can be written.
    found = _opened(folder / name)
    if found is not None:
        return found
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        # Another process may have filled it in the meantime.
        found = _opened(folder / name)
        if found is None:
            _fill(folder, name, build, split)
            found = _opened(folder / name)
    if found is None:
        raise OSError(f"{folder / name} is not what was written")
    return found


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; wait while another process holds it.

    Raises:
        OSError: the file system has no locks.
    """
    # The system gives the lock up when its holder ends, so a killed process does not block others.
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        _log.info("another process reads the samples into %s; waiting for it", folder)
        lock.acquire()
    except NotImplementedError as error:
        raise OSError(str(error)) from error
    try:
        yield
    finally:
        lock.release()


def _key(build: BuildFolder, split: str) -> dict[str, Any]:
    """Return what decides the content: the build and its files, and this program's format."""
    shards = build.table_shards("pairs", split)
    fetch(build.path, shards)
    stamps = [Stamp.of(os.stat(build.path / shard.path)) for shard in shards]
    files = [
        [shard.path, shard.sha256, *stamp] for shard, stamp in zip(shards, stamps, strict=True)
    ]
    # The columns are part of the format, so that a change of them alone needs no new number.
    form = [_FORMAT, str(ROWS), pa.__version__]
    return {"format": form, "build": build.build_id, "files": files}


def _fill(folder: Path, name: str, build: BuildFolder, split: str) -> None:
    """Write the files of an entry, then remove all others of the folder; the lock is held."""
    # Nobody else writes here: what another process left unfinished belongs to nobody.
    for left in list_folder(folder):
        if left.name.endswith(_TEMPORARY):
            shutil.rmtree(left, ignore_errors=True)
    temporary = folder / f"{name}{_TEMPORARY}"
    temporary.mkdir()
    try:
        with ExitStack() as stack:
            sinks = {
                file: stack.enter_context(pa.OSFile(str(temporary / file), "wb")) for file in FILES
            }
            write_compact(_batches(build, split), sinks)
        # What Arrow keeps of freed memory would stay with this process for the whole training.
        pa.default_memory_pool().release_unused()
        sums = {file: _checksum(temporary / file, flush=True) for file in FILES}
        (temporary / _KEY).write_text(json.dumps(sums), encoding="ascii")
        shutil.rmtree(folder / name, ignore_errors=True)
        temporary.replace(folder / name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    # Entries of earlier versions of the build. Processes that still map one keep it.
    for other in list_folder(folder):
        if is_folder(other) and other.name != name:
            shutil.rmtree(other, ignore_errors=True)


def _opened(entry: Path) -> SampleColumns | None:
    """Return the samples of an entry; None where it is missing or damaged."""
    sums = read_own_json(entry / _KEY)
    try:
        if sums is None or sums != {file: _checksum(entry / file) for file in FILES}:
            return None
    except OSError:
        return None
    return MappedColumns(entry)


class MappedColumns(SampleColumns):
    """The samples of an entry of the cache; another process opens its files again.

    Args:
        entry: folder of the files.
    """

    def __init__(self, entry: Path) -> None:
        self.entry = entry
        super().__init__({file: _map(entry / file) for file in FILES})

    def __reduce__(self) -> tuple[Any, ...]:
        return MappedColumns, (self.entry,)


def _map(path: Path) -> pa.Buffer:
    with pa.memory_map(str(path)) as file:
        return file.read_buffer()


def _checksum(path: Path, flush: bool = False) -> list[int]:
    """Return size and CRC-32 of a file, after it was flushed to disk if asked for."""
    total = size = 0
    with path.open("rb") as file:
        if flush:
            os.fsync(file.fileno())
        while chunk := file.read(_CHUNK):
            total = zlib.crc32(chunk, total)
            size += len(chunk)
    return [size, total]


def _in_memory(batches: Iterator[pa.RecordBatch]) -> SampleColumns:
    sinks = {name: pa.BufferOutputStream() for name in FILES}
    write_compact(batches, sinks)
    return SampleColumns({name: sink.getvalue() for name, sink in sinks.items()})


def _batches(build: BuildFolder, split: str) -> Iterator[pa.RecordBatch]:
    """Yield the columns of `pairs` that training uses, row group by row group."""
    tables = _tables(build, split)
    # The next row group is decoded while this one is made compact.
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(next, tables, None)
        while (table := waiting.result()) is not None:
            waiting = thread.submit(next, tables, None)
            # Arrow cuts a row group where an offset would not fit.
            yield from table.to_batches()


def _tables(build: BuildFolder, split: str) -> Iterator[pa.Table]:
    for shard in build.table_shards("pairs", split):
        with build.open_shard(shard.path, read_dictionary=list(REPEATED)) as file:
            for number in range(file.num_row_groups):
                table = file.read_row_group(number, list(LEAVES))
                table.validate(full=True)
                yield table
