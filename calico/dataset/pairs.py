"""A built dataset and its samples, read directly from its Parquet tables.

Rows of the table `pairs` stay in Arrow memory until they are asked for; images stay on disk
(`calico.dataset.images`).
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
from numpy.typing import NDArray

from calico.dataset.columns import REPEATED, MaskTexts, PairColumns
from calico.dataset.images import ImageTable
from calico.dataset.sample import ImageRef, Region, Sample
from mixedparts.errors import InputError
from mixedparts.masks import InvalidMask
from mixedparts.storage.build_folder import BuildFolder
from mixedparts.tables.seg_targets import seg_fault
from mixedparts.text.answers import MOST_WORDED


class _Row:
    """One row of a record batch, from which a sample is made.

    Two steps, so that the masks of many rows are checked together in between: the constructor
    collects the keys of a row's masks, `sample` reads the masks.
    """

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
            raise InputError(f"sample {name} contains an invalid mask: {error}") from error
        regions = tuple(
            Region(cells.label, cells.image, mask, index >= len(self.objects))
            for index, (cells, mask) in enumerate(zip(self.regions, read, strict=True))
        )
        if not all(0 <= region.image < len(images) for region in regions):
            raise InputError(f"sample {name} has a region of an image that it does not have")
        targets = self._targets(name, regions)
        # A mismatch would bind every later [SEG] to a wrong mask, without any error in training.
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
            fault = seg_fault(kind, number, count, len(regions) - count)
            if fault is not None:
                raise InputError(f"sample {name}: {fault}")
            targets.append(lists[kind][number])
        return tuple(targets)


class SampleTable(Sequence[Sample]):
    """The samples of one split.

    Args:
        table: `pairs`, read with the dictionaries of `calico.dataset.columns.REPEATED`.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        # Record batches are views of the table's memory: nothing is copied.
        self._batches = table.to_batches()
        self._starts = [0, *accumulate(batch.num_rows for batch in self._batches)][:-1]
        # Columns of the batches that samples were taken from; made when a batch is first used.
        self._columns: dict[int, PairColumns] = {}
        self._masks = MaskTexts()

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.take(range(*index.indices(len(self))))
        return self.take([index])[0]

    def take(self, indices: Sequence[int]) -> list[Sample]:
        """Return samples in the order of `indices`; many at once are faster than one by one.

        Raises:
            IndexError: there is no such row.
            InputError: a row is not a valid sample: a value is missing, a mask is invalid, or the
                numbers of [SEG] and masks differ.
        """
        rows = [_Row(*self._located(index)) for index in indices]
        self._masks.prepare([cells.mask for row in rows for cells in row.regions])
        return [row.sample(self._masks) for row in rows]

    def _located(self, index: int) -> tuple[PairColumns, int]:
        """Return the columns of the record batch that contains a row, and the row's index there."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        # `bisect_right` skips empty batches: of equal starts it takes the last one.
        number = bisect_right(self._starts, index) - 1
        if number not in self._columns:
            columns = PairColumns(self._batches[number], number)
            # The numbers are those that `PairColumns` writes into the keys of its masks.
            for offset, column in enumerate((columns.objects, columns.parts)):
                self._masks.add(2 * number + offset, column.texts)
            self._columns[number] = columns
        return self._columns[number], index - self._starts[number]

    @cached_property
    def images_per_sample(self) -> int:
        """Number of images of every sample.

        Raises:
            InputError: the number differs between samples, or is less than 2 or too large.
        """
        numbers = pc.unique(pc.list_value_length(self.table.column("images"))).to_pylist()
        if len(numbers) != 1 or not 2 <= numbers[0] <= MOST_WORDED:
            counts = ", ".join(map(str, sorted(numbers))) or "no"
            raise InputError(
                f"the dataset's samples have {counts} images; all must have the same number, "
                f"2 to {MOST_WORDED}",
                "Build it with one number: mixedparts build --images-per-sample 2",
            )
        return int(numbers[0])

    def ids(self) -> list[str]:
        """Return the ids of all samples."""
        return list(self.table.column("id").to_pylist())

    def answer_lengths(self) -> NDArray[np.int64]:
        """Return (n,) int64, the number of characters of every answer."""
        lengths = pc.utf8_length(self.table.column("answer"))
        return np.asarray(lengths.to_numpy(), np.int64)

    def sources(self) -> list[str]:
        """Return the names of the sources that samples come from, sorted."""
        return self.coded("source")[0]

    def coded(self, column: str) -> tuple[list[str], NDArray[np.int64]]:
        """Return the different values of a text column, sorted, and each row's index (n,) int64."""
        # Only an array has `dictionary` and `indices`, a chunked array has neither.
        encoded = self.table.column(column).combine_chunks().dictionary_encode()
        values = encoded.dictionary.to_pylist()
        names = sorted(values)
        # Arrow numbers values in the order of their first row; the result must not depend on it.
        ranks = np.array([names.index(value) for value in values], np.int64)
        return names, ranks[encoded.indices.to_numpy()]

    def texts(self) -> Iterator[str]:
        """Yield all questions, then all answers."""
        for name in ("question", "answer"):
            yield from self.table.column(name).to_pylist()

    def image_rows(self) -> dict[str, list[int]]:
        """Return the rows of the images table that the samples use: split -> ascending rows."""
        # Whole columns at a time: a Python loop over millions of samples would be far slower.
        flat = pc.list_flatten(self.table.column("images"))
        rows = pc.struct_field(flat, "row").to_numpy()
        counts = pc.list_value_length(self.table.column("images")).to_numpy()
        splits = self.table.column("split").to_numpy(zero_copy_only=False).repeat(counts)
        return {
            str(split): sorted(set(rows[splits == split].tolist())) for split in sorted(set(splits))
        }


class BuiltDataset:
    """The samples and images of a build folder.

    Args:
        path: the build folder.

    Raises:
        InputError: it contains no finished build of this schema version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.build = BuildFolder.open(path)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that have samples, in the order of the build."""
        return self.build.splits()

    @property
    def profile(self) -> str:
        """Profile of the manifests that gave the build its names of classes and parts."""
        return self.build.profile

    def pairs(self, split: str) -> SampleTable:
        """Return the samples of a split.

        Raises:
            InputError: there is no such split, or its files cannot be read.
        """
        return SampleTable(self.build.read("pairs", split, read_dictionary=list(REPEATED)))

    def images(self, split: str) -> ImageTable:
        """Return the images of a split; errors as `pairs`."""
        return ImageTable(self.build, split)
