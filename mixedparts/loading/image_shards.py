"""Random access to the rows of `images` in Parquet files, on disk or on the Hub, without a copy."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from mixedparts.errors import InputError

_COLUMNS = ["row", "image_id", "image"]
_BYTES = 256 << 20  # of row groups that are held


class ImageShards:
    """The rows of a split's `images`, by number.

    A row group is read whole when one of its rows is needed. Those used last stay in memory, up to
    256 MiB of them.

    Args:
        files: addresses of the shards, in their order.
        open_file: opens one for reading.
    """

    def __init__(self, files: Sequence[str], open_file: Callable[[str], BinaryIO]) -> None:
        self._files = tuple(files)
        self._open = open_file
        self._groups: OrderedDict[int, pa.Table] = OrderedDict()

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Return the row with a number: `row`, `image_id` and `image` with `bytes` and `path`.

        Raises:
            InputError: there is no such row, or a shard cannot be read.
        """
        starts = self._starts
        if not 0 <= number < starts[-1]:
            raise InputError(f"a sample shows row {number} of images; there are {starts[-1]}")
        place = bisect_right(starts, number) - 1
        row: dict[str, Any] = self._group(place).slice(number - starts[place], 1).to_pylist()[0]
        return row

    def __getstate__(self) -> dict[str, Any]:
        # Neither open files nor row groups travel to worker processes.
        return {"_files": self._files, "_open": self._open, "_groups": OrderedDict()}

    @cached_property
    def _shards(self) -> list[pq.ParquetFile]:
        opened = []
        for file in self._files:
            try:
                opened.append(pq.ParquetFile(self._open(file)))
            except (OSError, pa.ArrowException) as error:
                raise InputError(f"{file} cannot be read: {error}") from error
        return opened

    @cached_property
    def _places(self) -> list[tuple[int, int]]:
        """Shard and number of every row group, in order."""
        return [
            (shard, group)
            for shard, file in enumerate(self._shards)
            for group in range(file.num_row_groups)
        ]

    @cached_property
    def _starts(self) -> list[int]:
        """First row of every row group, then the number of all rows."""
        rows = (self._shards[s].metadata.row_group(g).num_rows for s, g in self._places)
        return [0, *accumulate(rows)]

    def _group(self, place: int) -> pa.Table:
        """Return a row group, read now or held from before."""
        if place in self._groups:
            self._groups.move_to_end(place)
            return self._groups[place]
        shard, group = self._places[place]
        try:
            table = self._shards[shard].read_row_group(group, columns=_COLUMNS)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{self._files[shard]} cannot be read: {error}") from error
        self._groups[place] = table
        while len(self._groups) > 1 and sum(one.nbytes for one in self._groups.values()) > _BYTES:
            self._groups.popitem(last=False)
        return table
