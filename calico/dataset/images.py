"""Pictures of a built dataset, read from the Parquet files of its table `images`."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mixedparts.errors import InputError

_COLUMNS = ["row", "image"]


class ImageTable:
    """The pictures of one split, read a row group at a time."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._groups: list[tuple[Path, int]] = []
        self._starts: list[int] = []
        self.rows = 0
        for file in files:
            metadata = pq.read_metadata(file)
            for group in range(metadata.num_row_groups):
                self._groups.append((file, group))
                self._starts.append(self.rows)
                self.rows += metadata.row_group(group).num_rows
        self._open: tuple[int, pa.Table] | None = None

    @cached_property
    def _digests(self) -> list[str]:
        tables = [
            pq.ParquetFile(file).read_row_group(group, ["sha256"]) for file, group in self._groups
        ]
        return [text for table in tables for text in table.column("sha256").to_pylist()]

    def digest(self, row: int) -> str:
        """Return the sha256 of a picture's stored bytes."""
        return self._digests[row]

    def read(self, row: int) -> bytes:
        """Return the stored bytes of a picture; rows that ascend are read once from disk.

        Raises:
            InputError: there is no such row, or a referenced file is not there.
        """
        if not 0 <= row < self.rows:
            raise InputError(f"the images table has {self.rows} rows, a sample asks for row {row}")
        number = bisect_right(self._starts, row) - 1
        if self._open is None or self._open[0] != number:
            file, group = self._groups[number]
            self._open = (number, pq.ParquetFile(file).read_row_group(group, _COLUMNS))
        item = self._open[1].slice(row - self._starts[number], 1).to_pylist()[0]
        if item["row"] != row:
            raise InputError(f"the images table holds row {item['row']} where row {row} belongs")
        data, path = item["image"]["bytes"], item["image"]["path"]
        if data is None:
            try:
                data = Path(path).read_bytes()
            except OSError as error:
                raise InputError(
                    f"the referenced picture {path} cannot be read: {error}"
                ) from error
        return bytes(data)
