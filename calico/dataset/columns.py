"""Rows of the table `pairs`, read from Arrow memory without plain Python objects in between.

Texts that occur again and again (labels, run lengths, image names) stay as codes into the
dictionaries that Parquet stores, so a mask that thousands of samples share is in memory once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mixedparts.errors import InputError
from mixedparts.masks import InvalidMask, Rle, from_string, from_strings

# Leaves of the schema that are read with their dictionaries. Parquet leaves of nested columns are
# named with their list levels.
REPEATED = (
    "images.list.element.image_id",
    "images.list.element.file_name",
    "objects.list.element.category",
    "objects.list.element.mask.counts",
    "parts.list.element.name",
    "parts.list.element.mask.counts",
    "seg.list.element.kind",
)
_CACHED_MASKS = 1 << 16  # masks that are checked and decoded; some 100 bytes each


class MaskKey(NamedTuple):
    """Where the run-length text of a mask is, and the size of its image.

    Attributes:
        texts: number of the dictionary that contains the text.
        code: index in this dictionary.
        height: of the image in pixels.
        width: of the image in pixels.
    """

    texts: int
    code: int
    height: int
    width: int


class RegionCells(NamedTuple):
    """One region as its row records it: label, image (counted from 0) and mask."""

    label: str
    image: int
    mask: MaskKey


class EncodedColumn(NamedTuple):
    """A dictionary-encoded text column.

    Attributes:
        codes: (n,) int64, the index in `texts` of each row's text.
        texts: the different texts.
    """

    codes: NDArray[np.int64]
    texts: pa.Array

    @classmethod
    def of(cls, column: pa.Array, name: str) -> EncodedColumn:
        """Return a text column in this form, whether it is dictionary-encoded yet or not.

        Raises:
            InputError: a row has no value.
        """
        if column.null_count:
            raise InputError(f"the table pairs has rows without '{name}'")
        encoded = column
        if not pa.types.is_dictionary(column.type):
            encoded = column.dictionary_encode()
        return cls(np.asarray(encoded.indices.to_numpy(), np.int64), encoded.dictionary)


class TextColumn(NamedTuple):
    """A text column with few different texts, which are Python strings.

    Attributes:
        codes: (n,) int64, the index in `texts` of each row's text.
        texts: the different texts.
    """

    codes: NDArray[np.int64]
    texts: list[str]

    @classmethod
    def of(cls, column: pa.Array, name: str) -> TextColumn:
        """Return a text column in this form; errors as `EncodedColumn.of`."""
        codes, texts = EncodedColumn.of(column, name)
        # Few texts: one conversion here is cheaper than `as_py` for each row that is read.
        return cls(codes, texts.to_pylist())

    def between(self, start: int, stop: int) -> list[str]:
        """Return the texts of the rows from `start` up to `stop`, which is excluded."""
        return [self.texts[code] for code in self.codes[start:stop].tolist()]


class PairColumns:
    """The columns of one record batch of `pairs`.

    Args:
        batch: has the columns of `mixedparts.storage.schema.PAIRS`; boxes and areas are not needed.
        number: of the batch in its table; part of the keys of the batch's masks.

    Raises:
        InputError: a column is missing, or it has rows without a value.
    """

    def __init__(self, batch: pa.RecordBatch, number: int) -> None:
        self._kinds = [
            TextColumn.of(_column(batch, name), name) for name in ("source", "split", "task")
        ]
        self._texts = [_whole(_column(batch, name), name) for name in ("id", "question", "answer")]
        self._image_ends, images = _lists(_column(batch, "images"))
        self._image_names = [TextColumn.of(_field(images, n), n) for n in ("image_id", "file_name")]
        self._image_numbers = np.stack(
            [_numbers(images, name) for name in ("row", "width", "height")], 1
        )
        # Every record batch has dictionaries of its own, one for objects and one for parts, so the
        # same code means different texts in different batches.
        self.objects = RegionColumn(_column(batch, "objects"), "category", 2 * number)
        self.parts = RegionColumn(_column(batch, "parts"), "name", 2 * number + 1)
        self._seg_ends, segs = _lists(_column(batch, "seg"))
        self._seg_kinds = TextColumn.of(_field(segs, "kind"), "kind")
        self._seg_indices = _numbers(segs, "index")

    def kinds(self, row: int) -> list[str]:
        """Return source, split and task of a row."""
        return [column.texts[column.codes[row]] for column in self._kinds]

    def texts(self, row: int) -> list[str]:
        """Return id, question and answer of a row."""
        return [column[row].as_py() for column in self._texts]

    def images(self, row: int) -> list[tuple[int, str, str, int, int]]:
        """Return row, id, file name, width and height of each image."""
        start, stop = self._image_ends[row : row + 2].tolist()
        numbers = self._image_numbers[start:stop].tolist()
        names = [column.between(start, stop) for column in self._image_names]
        return [
            (number, image_id, file_name, width, height)
            for (number, width, height), image_id, file_name in zip(numbers, *names, strict=True)
        ]

    def segs(self, row: int) -> list[tuple[str, int]]:
        """Return which region each [SEG] means: "object" or "part", and the index in its list."""
        start, stop = self._seg_ends[row : row + 2].tolist()
        kinds = self._seg_kinds.between(start, stop)
        return list(zip(kinds, self._seg_indices[start:stop].tolist(), strict=True))


class RegionColumn:
    """A list column of objects or parts.

    Args:
        column: of the table.
        label: the field that contains the regions' names.
        number: of the dictionary of run-length texts, for `MaskKey.texts`.

    Raises:
        InputError: a field is missing, rows lack a value, or a size is not height and width.
    """

    def __init__(self, column: pa.Array, label: str, number: int) -> None:
        self._ends, regions = _lists(column)
        self._labels = TextColumn.of(_field(regions, label), label)
        mask = _field(regions, "mask")
        self._counts, self.texts = EncodedColumn.of(_field(mask, "counts"), "counts")
        sizes = _field(mask, "size")
        if sizes.null_count or pc.any(pc.not_equal(pc.list_value_length(sizes), 2)).as_py():
            raise InputError("the table pairs holds a mask whose size is not height and width")
        flat = sizes.flatten().to_numpy(zero_copy_only=False).reshape(-1, 2)
        # One table of image, code, height and width: a row's regions are one slice of it, and one
        # `tolist` is much faster than a conversion for each number.
        self._numbers = np.column_stack([_numbers(regions, "image"), self._counts, flat])
        self._number = number

    def of(self, row: int) -> list[RegionCells]:
        """Return the regions of a row."""
        start, stop = self._ends[row : row + 2].tolist()
        labels = self._labels.between(start, stop)
        return [
            RegionCells(label, image, MaskKey(self._number, *key))
            for label, (image, *key) in zip(labels, self._numbers[start:stop].tolist(), strict=True)
        ]


class MaskTexts:
    """Checks run-length texts and returns them as masks, with a cache of the latest ones."""

    def __init__(self) -> None:
        self._texts: dict[int, pa.Array] = {}
        self._cached: OrderedDict[MaskKey, Rle] = OrderedDict()

    def add(self, number: int, texts: pa.Array) -> None:
        """Register the dictionary that keys call by a number (`MaskKey.texts`)."""
        self._texts[number] = texts

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
        text: str = self._texts[key.texts][key.code].as_py()
        return text


def _column(batch: pa.RecordBatch, name: str) -> pa.Array:
    if name not in batch.schema.names:
        raise InputError(f"the table pairs has no column '{name}'")
    return batch.column(name)


def _whole(column: pa.Array, name: str) -> pa.Array:
    if column.null_count:
        raise InputError(f"the table pairs has rows without '{name}'")
    return column


def _lists(column: pa.Array) -> tuple[NDArray[np.int64], pa.Array]:
    """Return (n + 1,) int64 offsets of the rows' lists, and the values of all lists."""
    if not pa.types.is_list(column.type) and not pa.types.is_large_list(column.type):
        raise InputError(f"a column of the table pairs holds {column.type}, not lists")
    # `values` ignores that the array may be a slice, and `offsets` counts from the same start:
    # together they are right for slices too, `flatten` with `offsets` would not be.
    return np.asarray(column.offsets.to_numpy(), np.int64), column.values


def _field(structs: pa.Array, name: str) -> pa.Array:
    if not pa.types.is_struct(structs.type) or structs.type.get_field_index(name) < 0:
        raise InputError(f"the table pairs has no '{name}' in {structs.type}")
    return structs.field(name)


def _numbers(structs: pa.Array, name: str) -> NDArray[np.int64]:
    column = _whole(_field(structs, name), name)
    return np.asarray(column.to_numpy(zero_copy_only=False), np.int64)
