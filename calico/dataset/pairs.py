"""A built dataset and its samples, read directly from its Parquet tables.

The rows of the table `pairs` are read in a compact form, which the processes of a machine share
(`calico.dataset.sample_cache`); images stay on disk (`calico.dataset.images`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from calico.dataset.columns import MaskTexts, SampleColumns
from calico.dataset.images import ImageTable
from calico.dataset.sample import ImageRef, Region, Sample
from calico.dataset.sample_cache import columns_of_build, columns_of_table
from mixedparts.errors import InputError
from mixedparts.masks import InvalidMask
from mixedparts.storage.build_folder import BuildFolder
from mixedparts.tables.seg_targets import seg_fault
from mixedparts.text.answers import MOST_WORDED


class _Row:
    """One row, from which a sample is made.

    Two steps, so that the masks of many rows are checked together in between: the constructor
    collects the keys of a row's masks, `sample` reads the masks.
    """

    def __init__(self, table: SampleColumns, index: int) -> None:
        self.table = table
        self.columns, self.row = table.located(index)
        self.objects = self.columns.regions("objects", self.row)
        self.regions = self.objects + self.columns.regions("parts", self.row)

    def sample(self, masks: MaskTexts) -> Sample:
        """Return the sample; errors as `SampleTable.take`."""
        columns, texts = self.columns, self.table.texts
        name: str = columns.column("id")[self.row].as_py()
        source, split, task = columns.kinds(self.row)
        question, answer = (
            str(texts[columns.numbers(column)[self.row]]) for column in ("question", "answer")
        )
        images = tuple(self._images(split))
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
                f"sample {name}: the answer contains {answer.count('[SEG]')} [SEG] for "
                f"{len(targets)} masks"
            )
        return Sample(name, source, split, task, images, regions, targets, question, answer)

    def _images(self, split: str) -> Iterator[ImageRef]:
        names = self.table.names
        rows = self.columns.cells("image_rows", self.row)
        cells = self.columns.cells("images", self.row)
        for (row,), (width, height, image_id, file_name) in zip(rows, cells, strict=True):
            yield ImageRef(split, row, str(names[image_id]), str(names[file_name]), width, height)

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
        table: rows of `pairs`, or a function that reads them when they are asked for as a table.
        columns: the same rows in the compact form; made from the table if it is not given.
    """

    def __init__(
        self, table: pa.Table | Callable[[], pa.Table], columns: SampleColumns | None = None
    ) -> None:
        self._source = table
        self._given = columns

    def __reduce__(self) -> tuple[Any, ...]:
        # Without what was made of them: a worker process maps the same files.
        return type(self), (self._source, self._given)

    @cached_property
    def table(self) -> pa.Table:
        """All rows of `pairs` with all columns, in memory: for small tables."""
        return self._source() if callable(self._source) else self._source

    @cached_property
    def columns(self) -> SampleColumns:
        """The rows in the compact form."""
        return self._given or columns_of_table(self.table)

    @cached_property
    def _masks(self) -> MaskTexts:
        return MaskTexts(self.columns.masks)

    def __len__(self) -> int:
        return len(self.columns)

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
        rows = [_Row(self.columns, index) for index in indices]
        self._masks.prepare([cells.mask for row in rows for cells in row.regions])
        return [row.sample(self._masks) for row in rows]

    @cached_property
    def images_per_sample(self) -> int:
        """Number of images of every sample.

        Raises:
            InputError: the number differs between samples, or is less than 2 or too large.
        """
        numbers = np.unique(self.columns.lengths("image_rows")).tolist()
        if len(numbers) != 1 or not 2 <= numbers[0] <= MOST_WORDED:
            counts = ", ".join(map(str, numbers)) or "no"
            raise InputError(
                f"the dataset's samples have {counts} images; all must have the same number, "
                f"2 to {MOST_WORDED}",
                "Build it with one number: mixedparts build --images-per-sample 2",
            )
        return int(numbers[0])

    def ids(self) -> list[str]:
        """Return the ids of all samples."""
        return list(self.columns.ids())

    def digest(self) -> str:
        """Return a digest of the ids in their order, 20 hexadecimal digits."""
        digest = hashlib.sha256()
        # Batch by batch: millions of ids as Python objects take hundreds of megabytes.
        for number, batch in enumerate(self.columns.batches):
            text = "\n".join(batch.column("id").to_pylist())
            digest.update(f"\n{text}".encode() if number else text.encode())
        return digest.hexdigest()[:20]

    def answer_lengths(self) -> NDArray[np.int64]:
        """Return (n,) int64, the number of characters of every answer."""
        return self.columns.text_lengths()[self.columns.codes("answer")]

    def sources(self) -> list[str]:
        """Return the names of the sources that samples come from, sorted."""
        return self.coded("source")[0]

    def coded(self, column: str) -> tuple[list[str], NDArray[np.int64]]:
        """Return the different values of `source`, `split` or `task`, sorted, and each row's index.

        The indices are (n,) int64.
        """
        different, places = np.unique(self.columns.codes(column), return_inverse=True)
        values = [self.columns.labels[code] for code in different.tolist()]
        names = sorted(values)
        # Values are numbered in the order of their first row; the result must not depend on it.
        ranks = np.array([names.index(value) for value in values], np.int64)
        return names, ranks[places]

    def texts(self) -> Iterator[str]:
        """Yield all questions, then all answers."""
        for name in ("question", "answer"):
            yield from self.columns.words(name)

    def image_numbers(self) -> NDArray[np.int32]:
        """Return (n, k) int32, the rows of the images table that each sample of k images shows.

        Raises:
            InputError: the number of images differs between samples.
        """
        return self.columns.image_rows().reshape(-1, self.images_per_sample)

    def image_rows(self) -> dict[str, list[int]]:
        """Return the rows of the images table that the samples use: split -> ascending rows."""
        # Whole columns at a time: a Python loop over millions of samples would be far slower.
        names, codes = self.coded("split")
        of_image = codes.repeat(self.columns.lengths("image_rows"))
        rows = self.columns.image_rows()
        return {
            name: np.unique(rows[of_image == number]).tolist() for number, name in enumerate(names)
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
        self.build.check_table("pairs", split)
        columns = columns_of_build(self.build, split)
        return SampleTable(partial(self.build.read, "pairs", split), columns)

    def images(self, split: str) -> ImageTable:
        """Return the images of a split; errors as `pairs`."""
        return ImageTable(self.build, split)
