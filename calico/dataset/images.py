"""Images of a built dataset, read from the Parquet files of its table `images`."""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property

import pyarrow as pa

from mixedparts.errors import InputError
from mixedparts.images.opening import image_bytes
from mixedparts.storage.build_folder import BuildFolder

_COLUMNS = ["row", "image"]


class ImageTable:
    """The images of one split, read one row group at a time.

    Args:
        build: the open build folder.
        split: name of the split.

    Raises:
        InputError: the build has no such split, or a file cannot be read.
    """

    def __init__(self, build: BuildFolder, split: str) -> None:
        self._build = build
        self._groups: list[tuple[str, int]] = []  # shard and row group
        self._starts: list[int] = []
        self.rows = 0
        # The footers alone show which rows are in which row group; no image is read here.
        build.check_table("images", split)
        for shard in build.table_shards("images", split):
            with build.open_shard(shard.path) as file:
                metadata = file.metadata
            for group in range(metadata.num_row_groups):
                self._groups.append((shard.path, group))
                self._starts.append(self.rows)
                self.rows += metadata.row_group(group).num_rows
        self._open: tuple[int, pa.Table] | None = None

    @cached_property
    def _digests(self) -> list[str]:
        tables = [self._read_group(*group, ["sha256"]) for group in self._groups]
        return [text for table in tables for text in table.column("sha256").to_pylist()]

    def _read_group(self, shard: str, group: int, columns: list[str]) -> pa.Table:
        # Mapped into memory: images are stored uncompressed, and training reads a row group of 100
        # for each of them. Without the buffer between them that takes half the time.
        with self._build.open_shard(shard, memory_map=True) as file:
            table = file.read_row_group(group, columns)
            table.validate(full=True)
        return table

    def digest(self, row: int) -> str:
        """Return the SHA-256 of an image's stored bytes, in hexadecimal."""
        return self._digests[row]

    def read(self, row: int) -> bytes:
        """Return the encoded bytes of an image, as the build stores or references them.

        Ask for rows in ascending order: each row group is then read from disk once.

        Raises:
            InputError: there is no such row, or a referenced file cannot be read.
        """
        if not 0 <= row < self.rows:
            raise InputError(f"the images table has {self.rows} rows, a sample asks for row {row}")
        number = bisect_right(self._starts, row) - 1
        # Only the latest row group stays in memory: groups hold many megabytes of image bytes.
        if self._open is None or self._open[0] != number:
            self._open = (number, self._read_group(*self._groups[number], _COLUMNS))
        item = self._open[1].slice(row - self._starts[number], 1).to_pylist()[0]
        if item["row"] != row:
            raise InputError(f"the images table has row {item['row']} where row {row} belongs")
        data, path = item["image"]["bytes"], item["image"]["path"]
        # A build made with `--images reference` stores absolute paths and no bytes.
        if data is None:
            data = image_bytes(path)
        return bytes(data)
