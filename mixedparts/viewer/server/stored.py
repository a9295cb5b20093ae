"""What the server reads: rows of a build with their predictions, counts, and images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from threading import BoundedSemaphore
from typing import Any

import numpy as np
import pyarrow.compute as pc

from mixedparts.errors import InputError, UsageError
from mixedparts.images.exif import neutral_bytes
from mixedparts.images.opening import image_bytes
from mixedparts.storage.build_folder import BuildFolder
from mixedparts.tables.stored_images import referenced_file
from mixedparts.viewer.build_page import with_prediction
from mixedparts.viewer.build_rows import sample_of
from mixedparts.viewer.page.data import Collector, PageData
from mixedparts.viewer.page.previews import Preview, preview
from mixedparts.viewer.predictions import Predictions
from mixedparts.viewer.samples import ShownImage
from mixedparts.viewer.selection import Matches, Query, find
from mixedparts.viewer.selection.choose import check_names, with_splits
from mixedparts.viewer.selection.facets import Counts, count_facets
from mixedparts.viewer.selection.read import read_rows
from mixedparts.viewer.selection.row_groups import row_groups
from mixedparts.viewer.server.replaced import Replaced

# A request holds a row group in memory; further ones wait.
_AT_ONCE = 4
_QUERIES = 16  # whose results are kept: 4 bytes a row that was found
_IMAGE_BYTES = 4_000_000  # a larger file is sent as a smaller JPEG
_IMAGE_SIDE = 2048


class StoredRows:
    """The rows and images of a build.

    Args:
        build: the build.
        predictions: to show beside the ground truth.
    """

    def __init__(self, build: BuildFolder, predictions: Predictions | None = None) -> None:
        self.build = build
        self.predictions = predictions
        self._turn = BoundedSemaphore(_AT_ONCE)
        self._replaced = Replaced(build)
        row_groups(build)  # reads all footers, once and before the first question
        self._found = lru_cache(maxsize=_QUERIES)(self._find)
        self._counts = lru_cache(maxsize=_QUERIES)(lambda query: count_facets(build, query))

    def page(self, query: Query, start: int, count: int) -> tuple[int, PageData]:
        """Find rows, and read some of them.

        Args:
            query: which rows.
            start: position of the first row to return.
            count: most rows to return.

        Returns:
            How many rows were found, and those that were asked for; without predictions they have
            no masks.

        Raises:
            InputError: the build was replaced or removed, or a file of it is missing or damaged.
        """
        with self._reading():
            found = self._found(self._complete(query))
            total = sum(match.rows.size for match in found)
            # Predictions are compared with the masks.
            masked = self.predictions is not None
            data = self._data(_cut(found, start, start + count), masked)
        return total, data

    def wrong_name(self, query: Query) -> str:
        """Return what is wrong with the names in a query that finds nothing; empty for nothing."""
        with self._reading():
            try:
                check_names(self.build, query)
            except UsageError as error:
                return error.message
        return ""

    def one(self, split: str, name: str) -> PageData | None:
        """Return the row with an id, with its masks; None if there is none.

        Raises:
            InputError: the build was replaced or removed, or a file of it is missing or damaged.
        """
        if split not in self.build.splits():
            return None
        with self._reading():
            query = Query(splits=(split,), ids=(name,))
            found = next(find(self.build, query), None)
            return None if found is None else self._data([_first(found)], masked=True)

    def facets(self, query: Query) -> Counts:
        """Return how many rows each choice of a filter leaves; see `count_facets`."""
        with self._reading():
            return self._counts(self._complete(query))

    def image(self, split: str, number: int) -> Preview | None:
        """Return a row of `images` as a browser shows it; None if there is none, or no pixels.

        Args:
            split: of the table `images`.
            number: its `row`.

        Raises:
            InputError: it cannot be read or decoded, or the build was replaced or removed.
        """
        if split not in self.build.splits("images"):
            return None
        with self._reading():
            row = self._image_row(split, number)
            data = None if row is None else self._bytes(row["image"], row["source"])
            if row is None or data is None:
                return None
            name = f"{row['image_id']} in row {number} of images"
            read = partial(_unread, split, number)
            shown = ShownImage(f"{split}/{number}", name, row["width"], row["height"], read)
            return preview(shown, data, _IMAGE_BYTES, _IMAGE_SIDE)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Wait for a free place, and check that the build is the one that was opened."""
        with self._turn:
            self._replaced.check()
            yield

    def _complete(self, query: Query) -> Query:
        """Return the query for the rows that are shown: with predictions, those that have one."""
        among = None if self.predictions is None else self.predictions.ids
        return replace(with_splits(self.build, query), among=among)

    def _find(self, query: Query) -> tuple[Matches, ...]:
        return tuple(find(self.build, query))

    def _data(self, found: Sequence[Matches], masked: bool) -> PageData:
        collected = Collector()
        for row in read_rows(self.build, found, masked):
            collected.add(with_prediction(sample_of(row, _unread), self.predictions))
        place = f"/images/{self.build.build_id[:16]}"
        return collected.data(f"{place}/{image.key}" for image in collected.images)

    def _image_row(self, split: str, number: int) -> dict[str, Any] | None:
        """Return a row of `images`, None if there is none."""
        for shard in self.build.table_shards("images", split):
            with self.build.open_shard(shard.path) as file:
                for group in range(file.num_row_groups):
                    # `row` is the first column.
                    statistics = file.metadata.row_group(group).column(0).statistics
                    known = statistics is not None and statistics.has_min_max
                    if known and not statistics.min <= number <= statistics.max:
                        continue
                    rows = file.read_row_group(group, ["row"])["row"]
                    place = pc.index(rows, number).as_py()
                    if place >= 0:
                        return dict(file.read_row_group(group).slice(place, 1).to_pylist()[0])
        return None

    def _bytes(self, image: dict[str, bytes | str | None] | None, source: str) -> bytes | None:
        """Return the bytes of a stored image, those of its file if the build only refers to it."""
        if image is None:
            return None
        if isinstance(image["bytes"], bytes):
            return image["bytes"]
        roots = self.build.configuration.get("source_roots")
        path = referenced_file(str(image["path"]), source, roots if isinstance(roots, dict) else {})
        return neutral_bytes(image_bytes(path))


def _unread(split: str, number: int) -> bytes | None:
    raise InputError(f"the page asks for image {number} of {split} by its address")


def _cut(found: Sequence[Matches], start: int, stop: int) -> list[Matches]:
    """Return the rows from one position to another among all that were found."""
    cut, first = [], 0
    for match in found:
        inside = slice(max(0, start - first), max(0, stop - first))
        rows = match.rows[inside]
        if rows.size:
            cut.append(Matches(match.group, rows))
        first += match.rows.size
    return cut


def _first(match: Matches) -> Matches:
    return Matches(match.group, np.asarray(match.rows[:1]))
