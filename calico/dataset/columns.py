"""Cells of samples in the compact form (`calico.dataset.compact`), read without a copy."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mixedparts.errors import InputError
from mixedparts.masks import InvalidMask, Rle, from_string, from_strings

_CACHED_MASKS = 1 << 16  # masks that are checked and decoded; some 100 bytes each


class MaskKey(NamedTuple):
    """The number of a run-length text, and the size of its image.

    Attributes:
        code: in the dictionary of masks.
        height: of the image in pixels.
        width: of the image in pixels.
    """

    code: int
    height: int
    width: int


class RegionCells(NamedTuple):
    """One region as its row records it: label, image (counted from 0) and mask."""

    label: str
    image: int
    mask: MaskKey


class PairColumns:
    """The cells of one record batch of rows, as arrays over its memory.

    Args:
        batch: of the schema `calico.dataset.compact.ROWS`; columns may be missing.
        labels: texts of the codes of labels.
        sizes: height and width of the codes of sizes.
    """

    def __init__(
        self, batch: pa.RecordBatch, labels: Sequence[str], sizes: Sequence[tuple[int, int]]
    ) -> None:
        self._batch = batch
        self._labels = labels
        self._sizes = sizes
        self._numbers: dict[str, NDArray[np.int32]] = {}
        self._lists: dict[str, tuple[NDArray[np.int32], NDArray[np.int32]]] = {}

    def column(self, name: str) -> pa.Array:
        """Return a column.

        Raises:
            InputError: it is missing.
        """
        if name not in self._batch.schema.names:
            raise InputError(f"the table pairs has no column '{name}'")
        return self._batch.column(name)

    def numbers(self, name: str) -> NDArray[np.int32]:
        """Return (n,) int32, the codes of a column of texts."""
        if name not in self._numbers:
            self._numbers[name] = self.column(name).to_numpy()
        return self._numbers[name]

    def lists(self, name: str) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return (n + 1,) int32 ends of the lists of a column, and (m, k) int32, all cells."""
        if name not in self._lists:
            column = self.column(name)
            cells = column.values
            if pa.types.is_fixed_size_list(cells.type):
                flat = cells.values.to_numpy().reshape(-1, cells.type.list_size)
            else:
                flat = cells.to_numpy().reshape(-1, 1)
            self._lists[name] = column.offsets.to_numpy(), flat
        return self._lists[name]

    def cells(self, name: str, row: int) -> list[list[int]]:
        """Return the cells of a row in a column of lists."""
        ends, flat = self.lists(name)
        start, stop = ends[row : row + 2].tolist()
        found: list[list[int]] = flat[start:stop].tolist()
        return found

    def kinds(self, row: int) -> list[str]:
        """Return source, split and task of a row."""
        return [self._labels[self.numbers(name)[row]] for name in ("source", "split", "task")]

    def regions(self, name: str, row: int) -> list[RegionCells]:
        """Return the `objects` or `parts` of a row."""
        labels, sizes = self._labels, self._sizes
        return [
            RegionCells(labels[label], image, MaskKey(mask, *sizes[size]))
            for image, label, mask, size in self.cells(name, row)
        ]

    def segs(self, row: int) -> list[tuple[str, int]]:
        """Return which region each [SEG] means: "object" or "part", and the index in its list."""
        return [(self._labels[kind], index) for kind, index in self.cells("seg", row)]


class SampleColumns:
    """All rows of a split in the compact form.

    Args:
        buffers: the Arrow files by name (`calico.dataset.compact.FILES`), in memory or mapped.
    """

    def __init__(self, buffers: Mapping[str, pa.Buffer]) -> None:
        self.buffers = dict(buffers)
        files = {name: pa.ipc.open_file(buffer) for name, buffer in buffers.items()}
        rows = files["rows"]
        # Batches are views of the buffers: nothing is copied.
        batches = [rows.get_batch(number) for number in range(rows.num_record_batches)]
        self._starts: list[int] = [0, *accumulate(int(batch.num_rows) for batch in batches)]
        texts = {name: files[name].get_batch(0).column(0) for name in files.keys() - {"rows"}}
        self.texts, self.names, self.masks = (texts[key] for key in ("texts", "names", "masks"))
        # Few and used for every row: Python objects are faster than cells of Arrow.
        self.labels: list[str] = texts["labels"].to_pylist()
        sizes = files["sizes"].get_batch(0)
        self._sizes = list(zip(*(column.to_pylist() for column in sizes.columns), strict=True))
        self.batches = [PairColumns(batch, self.labels, self._sizes) for batch in batches]

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, ({name: bytes(buffer) for name, buffer in self.buffers.items()},)

    def __len__(self) -> int:
        return self._starts[-1]

    def located(self, index: int) -> tuple[PairColumns, int]:
        """Return the record batch that contains a row, and the row's index there.

        Raises:
            IndexError: there is no such row.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        # `bisect_right` skips empty batches: of equal starts it takes the last one.
        number = bisect_right(self._starts, index) - 1
        return self.batches[number], index - self._starts[number]

    def codes(self, name: str) -> NDArray[np.int32]:
        """Return (n,) int32, the codes of a column of texts in all rows."""
        if not self.batches:
            return np.zeros(0, np.int32)
        return np.concatenate([batch.numbers(name) for batch in self.batches])

    def lengths(self, name: str) -> NDArray[np.int32]:
        """Return (n,) int32, the number of cells of a column of lists in all rows."""
        if not self.batches:
            return np.zeros(0, np.int32)
        return np.concatenate([np.diff(batch.lists(name)[0]) for batch in self.batches])

    def image_rows(self) -> NDArray[np.int32]:
        """Return (m,) int32, rows of the images table of all images of all samples."""
        if not self.batches:
            return np.zeros(0, np.int32)
        return np.concatenate([batch.lists("image_rows")[1][:, 0] for batch in self.batches])

    def text_lengths(self) -> NDArray[np.int64]:
        """Return (t,) int64, the number of characters of each text of questions and answers."""
        return np.asarray(pc.utf8_length(self.texts).to_numpy(), np.int64)

    def ids(self) -> Iterator[str]:
        """Yield the ids of all samples."""
        for batch in self.batches:
            yield from batch.column("id").to_pylist()

    def words(self, name: str) -> Iterator[str]:
        """Yield the question or answer of every row."""
        for batch in self.batches:
            codes = pa.array(batch.numbers(name))
            yield from self.texts.take(codes).to_pylist()


def _reopened(files: Mapping[str, bytes]) -> SampleColumns:
    return SampleColumns({name: pa.py_buffer(data) for name, data in files.items()})


class MaskTexts:
    """Checks run-length texts and returns them as masks, with a cache of the latest ones.

    Args:
        texts: run lengths by code.
    """

    def __init__(self, texts: pa.Array) -> None:
        self._texts = texts
        self._cached: OrderedDict[MaskKey, Rle] = OrderedDict()

    def prepare(self, wanted: Sequence[MaskKey]) -> None:
        """Check all texts that are not cached, together; `read` reports the invalid ones."""
        unknown: dict[tuple[int, int], list[MaskKey]] = {}
        for key in dict.fromkeys(wanted):
            if key not in self._cached:
                unknown.setdefault((key.height, key.width), []).append(key)
        # `from_strings` checks many texts of one image size in one pass over numpy arrays.
        for size, keys in unknown.items():
            checked = from_strings([self._text(key) for key in keys], *size)
            for key, result in zip(keys, checked, strict=True):
                if not isinstance(result, InvalidMask):
                    self._cached[key] = result[0]

    def read(self, wanted: Sequence[MaskKey]) -> list[Rle]:
        """Return the masks that texts describe.

        Raises:
            InvalidMask: a text is not a valid mask of its image size.
        """
        masks = []
        for key in wanted:
            # Taking a mask out and putting it back moves it to the end: the cache is LRU.
            mask = self._cached.pop(key, None)
            if mask is None:
                mask = from_string(self._text(key), key.height, key.width)
            self._cached[key] = mask
            masks.append(mask)
        while len(self._cached) > _CACHED_MASKS:
            self._cached.popitem(last=False)
        return masks

    def _text(self, key: MaskKey) -> str:
        text: str = self._texts[key.code].as_py()
        return text
