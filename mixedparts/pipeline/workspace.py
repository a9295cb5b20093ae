"""Folders of an unfinished build, and writers of the working files that pass between its stages.

Working files are written like shards (`mixedparts.storage.shards`), but are not flushed to disk.
A flush waits for the disk, for files that are removed at the end anyway. If a crash of the machine
damages one, it does not match the digest in its commit record, and its task runs again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mixedparts.entities.table import count_rows, write_table
from mixedparts.records import Reject
from mixedparts.storage.schema import REJECTS
from mixedparts.storage.shards import WrittenFile, write_shard

WORK = Path("_build/work")  # files that pass between stages; removed when the build is finished
READY = Path("_build/ready")  # finished shards of the dataset, until all of them are written


def store_table(base: Path, relative: str, table: pa.Table) -> WrittenFile:
    """Write a table as a working file, in Arrow format.

    Args:
        base: folder of the working files.
        relative: path of the file below it.
        table: the rows.

    Returns:
        The written file.
    """
    return write_shard(base, relative, lambda path: write_table(table, path), count_rows, False)


def store_array(base: Path, relative: str, array: NDArray[Any]) -> WrittenFile:
    """Write an array as a working file, in NumPy format.

    Args:
        base: folder of the working files.
        relative: path of the file below it.
        array: the values; their first axis counts as rows.

    Returns:
        The written file.
    """

    def write(path: Path) -> int:
        # Given a path instead of a handle, `np.save` would add `.npy` to the temporary name.
        with path.open("wb") as handle:
            np.save(handle, array)
        return len(array)

    return write_shard(base, relative, write, lambda path: len(np.load(path, mmap_mode="r")), False)


def store_rejects(base: Path, relative: str, rejects: Sequence[Reject]) -> WrittenFile:
    """Write rejects as a working file with the columns of the schema `REJECTS`.

    Args:
        base: folder of the working files.
        relative: path of the file below it.
        rejects: the rejected records.

    Returns:
        The written file.
    """
    rows = [{name: _text(getattr(item, name)) for name in REJECTS.names} for item in rejects]
    return store_table(base, relative, pa.Table.from_pylist(rows, schema=REJECTS))


def _text(value: object) -> str:
    """Return a value as text that UTF-8 can encode."""
    # Broken records can contain lone surrogates, which are valid in JSON but not in UTF-8.
    return str(value).encode("utf-8", "backslashreplace").decode()
