"""A built dataset and its samples, read straight from its Parquet tables.

Tables: `pairs/{split}-*.parquet` and `images/{split}-*.parquet`. Rows of pairs stay in Arrow memory
until they are asked for; pictures stay on disk (`calico.dataset.images`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from calico.dataset.columns import REPEATED, MaskTexts, PairColumns
from calico.dataset.images import ImageTable
from calico.dataset.sample import ImageRef, Region, Sample
from mixedparts.errors import InputError
from mixedparts.masks import InvalidMask
from mixedparts.pipeline.build_manifest import read_manifest
from mixedparts.sources.manifests import FULL
from mixedparts.text.answers import MOST_WORDED


class _Row:
    """One row of a batch on its way to a sample."""

    def __init__(self, columns: PairColumns, row: int) -> None:
        self.columns = columns
        self.row = row
        self.objects = columns.objects.of(row)
        self.regions = self.objects + columns.parts.of(row)

    def sample(self, masks: MaskTexts) -> Sample:
        """Return the sample; errors as `SampleTable.take`."""
        name, question, answer = self.columns.texts(self.row)
        source, split, task = self.columns.kinds(self.row)
        images = tuple(ImageRef(split, *cells) for cells in self.columns.images(self.row))
        try:
            read = masks.read([cells.mask for cells in self.regions])
        except InvalidMask as error:
            raise InputError(f"sample {name} holds a mask that is none: {error}") from error
        regions = tuple(
            Region(cells.label, cells.image, mask, place >= len(self.objects))
            for place, (cells, mask) in enumerate(zip(self.regions, read, strict=True))
        )
        if not all(0 <= region.image < len(images) for region in regions):
            raise InputError(f"sample {name} has a region of an image that it does not have")
        targets = self._targets(name, regions)
        if answer.count("[SEG]") != len(targets):
            raise InputError(
                f"sample {name}: the answer holds {answer.count('[SEG]')} [SEG] for "
                f"{len(targets)} masks"
            )
        return Sample(name, source, split, task, images, regions, targets, question, answer)

    def _targets(self, name: str, regions: tuple[Region, ...]) -> tuple[Region, ...]:
        """Return the region of each [SEG]."""
        count = len(self.objects)
        lists = {"object": regions[:count], "part": regions[count:]}
        targets = []
        for kind, number in self.columns.segs(self.row):
            if not 0 <= number < len(lists.get(kind, ())):
                raise InputError(f"sample {name}: a [SEG] means {kind} {number}, there is none")
            targets.append(lists[kind][number])
        return tuple(targets)


class SampleTable(Sequence[Sample]):
    """The samples of one split."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self._batches = table.to_batches()
        self._starts = [0, *accumulate(batch.num_rows for batch in self._batches)][:-1]
        self._columns: dict[int, PairColumns] = {}
        self._masks = MaskTexts()

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.take(range(*index.indices(len(self))))
        return self.take([index])[0]

    def take(self, indices: Sequence[int]) -> list[Sample]:
        """Return samples in the order asked for; together they are read faster than one by one.

        Raises:
            IndexError: there is no such row.
            InputError: a row is no sample: something is missing, a mask is none, or [SEG] and masks
                do not match.
        """
        rows = [_Row(*self._place(index)) for index in indices]
        self._masks.prepare([cells.mask for row in rows for cells in row.regions])
        return [row.sample(self._masks) for row in rows]

    def _place(self, index: int) -> tuple[PairColumns, int]:
        """Return the batch of a row, and its place there."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = bisect_right(self._starts, index) - 1
        if number not in self._columns:
            columns = PairColumns(self._batches[number], number)
            for place, column in enumerate((columns.objects, columns.parts)):
                self._masks.add(2 * number + place, column.texts)
            self._columns[number] = columns
        return self._columns[number], index - self._starts[number]

    @cached_property
    def images_per_sample(self) -> int:
        """How many images every sample has.

        Raises:
            InputError: samples differ in it, or have fewer than two images or too many.
        """
        found = pc.unique(pc.list_value_length(self.table.column("images"))).to_pylist()
        if len(found) != 1 or not 2 <= found[0] <= MOST_WORDED:
            counts = ", ".join(map(str, sorted(found))) or "no"
            raise InputError(
                f"the dataset's samples have {counts} images; all must have the same number, "
                f"2 to {MOST_WORDED}",
                "Build it with one number: mixedparts build --images-per-sample 2",
            )
        return int(found[0])

    def ids(self) -> list[str]:
        """Return the ids of all samples."""
        return list(self.table.column("id").to_pylist())

    def answer_lengths(self) -> NDArray[np.int64]:
        """Return the number of characters of every answer."""
        lengths = pc.utf8_length(self.table.column("answer"))
        return np.asarray(lengths.to_numpy(), np.int64)

    def sources(self) -> list[str]:
        """Return the names of the sources that samples come from, sorted."""
        return self.coded("source")[0]

    def coded(self, column: str) -> tuple[list[str], NDArray[np.int64]]:
        """Return the values of a text column, sorted, and (n,) the place of each row's value."""
        encoded = self.table.column(column).combine_chunks().dictionary_encode()
        values = encoded.dictionary.to_pylist()
        names = sorted(values)
        places = np.array([names.index(value) for value in values], np.int64)
        return names, places[encoded.indices.to_numpy()]

    def texts(self) -> Iterator[str]:
        """Yield all questions and answers."""
        for name in ("question", "answer"):
            yield from self.table.column(name).to_pylist()

    def image_rows(self) -> dict[str, list[int]]:
        """Return the rows of the images table that the samples use, sorted, by split."""
        flat = pc.list_flatten(self.table.column("images"))
        rows = pc.struct_field(flat, "row").to_numpy()
        counts = pc.list_value_length(self.table.column("images")).to_numpy()
        splits = self.table.column("split").to_numpy(zero_copy_only=False).repeat(counts)
        return {
            str(split): sorted(set(rows[splits == split].tolist())) for split in sorted(set(splits))
        }


class BuiltDataset:
    """A build folder.

    Args:
        path: holds `pairs/` and `images/`.

    Raises:
        InputError: it does not.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        for folder in ("pairs", "images"):
            if not (path / folder).is_dir():
                raise InputError(
                    f"{path} is no built dataset: there is no folder {folder}",
                    "Build one with: mixedparts build",
                )

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that have samples, sorted."""
        files = (self.path / "pairs").glob("*-*.parquet")
        return tuple(sorted({file.name.split("-")[0] for file in files}))

    @cached_property
    def profile(self) -> str:
        """Under which profile of the manifests the build names classes and parts."""
        manifest = read_manifest(self.path) or {}
        return str(manifest.get("configuration", {}).get("profile", FULL))

    def pairs(self, split: str) -> SampleTable:
        """Return the samples of a split.

        Raises:
            InputError: there is no such split, or its files cannot be read.
        """
        files = self._files("pairs", split)
        try:
            return SampleTable(pa.concat_tables([_read(file) for file in files]))
        except (OSError, pa.ArrowInvalid) as error:
            raise InputError(f"the samples of split '{split}' cannot be read: {error}") from error

    def images(self, split: str) -> ImageTable:
        """Return the pictures of a split; errors as `pairs`."""
        files = self._files("images", split)
        try:
            return ImageTable(files)
        except (OSError, pa.ArrowInvalid) as error:
            raise InputError(f"the images of split '{split}' cannot be read: {error}") from error

    def _files(self, table: str, split: str) -> list[Path]:
        files = sorted((self.path / table).glob(f"{split}-*.parquet"))
        if not files:
            raise InputError(
                f"the dataset {self.path} has no {table} of split '{split}'",
                f"Splits: {', '.join(self.splits) or 'none'}",
            )
        return files


def _read(file: Path) -> pa.Table:
    return pq.read_table(file, read_dictionary=list(REPEATED))
