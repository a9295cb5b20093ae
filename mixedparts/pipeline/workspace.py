"""Where a build keeps what is not finished yet, and how its working files are written."""

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

WORK = Path("_build/work")  # between stages; removed when the build is whole
READY = Path("_build/ready")  # finished shards of the dataset, until all of them are there


def store_table(base: Path, relative: str, table: pa.Table) -> WrittenFile:
    """Write a table as a working file."""
    return write_shard(base, relative, lambda path: write_table(table, path), count_rows, False)


def store_array(base: Path, relative: str, array: NDArray[Any]) -> WrittenFile:
    """Write an array as a working file."""

    def write(path: Path) -> int:
        with path.open("wb") as handle:
            np.save(handle, array)
        return len(array)

    return write_shard(base, relative, write, lambda path: len(np.load(path, mmap_mode="r")), False)


def store_rejects(base: Path, relative: str, rejects: Sequence[Reject]) -> WrittenFile:
    """Write rejects as a working file in the schema of the table."""
    rows = [{name: _text(getattr(item, name)) for name in REJECTS.names} for item in rejects]
    return store_table(base, relative, pa.Table.from_pylist(rows, schema=REJECTS))


def _text(value: object) -> str:
    """Return text that UTF-8 can hold, whatever the source files hold."""
    return str(value).encode("utf-8", "backslashreplace").decode()
