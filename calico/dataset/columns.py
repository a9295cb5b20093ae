"""Rows of `pairs` read from Arrow memory, without plain Python objects in between.

Texts that come again and again (labels, run lengths, names of images) stay as numbers into the
dictionaries that Parquet keeps, so a mask that thousands of samples show lies in memory once.
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

# Leaves to be read with their dictionaries.
REPEATED = (
    "images.list.element.image_id",
    "images.list.element.file_name",
    "objects.list.element.category",
    "objects.list.element.mask.counts",
    "parts.list.element.name",
    "parts.list.element.mask.counts",
    "seg.list.element.kind",
)
_KEPT_MASKS = 1 << 16  # proven once, and met again in other samples; some 100 bytes each


class MaskKey(NamedTuple):
    """Which run-length text a mask is: its list of texts, its place there, height and width."""

    texts: int
    place: int
    height: int
    width: int


class RegionCells(NamedTuple):
    """One region as its row states it."""

    label: str
    image: int
    mask: MaskKey


class Repeated(NamedTuple):
    """A text column as places in a list of different texts."""

    places: NDArray[np.int64]
    texts: pa.Array

    @classmethod
    def of(cls, column: pa.Array, name: str) -> Repeated:
        """Return a column that has a text everywhere, dictionary-encoded or not."""
        if column.null_count:
            raise InputError(f"the table pairs has rows without '{name}'")
        encoded = column
        if not pa.types.is_dictionary(column.type):
            encoded = column.dictionary_encode()
        return cls(np.asarray(encoded.indices.to_numpy(), np.int64), encoded.dictionary)


class Words(NamedTuple):
    """A text column with few different texts."""

    places: NDArray[np.int64]
    words: list[str]

    @classmethod
    def of(cls, column: pa.Array, name: str) -> Words:
        """Return a column as `Repeated.of` does, its texts as Python has them."""
        places, texts = Repeated.of(column, name)
        return cls(places, texts.to_pylist())

    def between(self, start: int, stop: int) -> list[str]:
        """Return the texts of some rows."""
        return [self.words[place] for place in self.places[start:stop].tolist()]


class PairColumns:
    """The columns of one record batch of `pairs`.

    Args:
        batch: with the columns of `mixedparts.storage.schema.PAIRS`, boxes and areas not needed.
        number: of the batch, so that masks of different batches are told apart.

    Raises:
        InputError: a column is not there, or values are missing in it.
    """

    def __init__(self, batch: pa.RecordBatch, number: int) -> None:
        self._kinds = [Words.of(_column(batch, name), name) for name in ("source", "split", "task")]
        self._texts = [_whole(_column(batch, name), name) for name in ("id", "question", "answer")]
        self._image_ends, images = _lists(_column(batch, "images"))
        self._image_words = [Words.of(_field(images, n), n) for n in ("image_id", "file_name")]
        self._image_numbers = np.stack(
            [_numbers(images, name) for name in ("row", "width", "height")], 1
        )
        self.objects = RegionColumn(_column(batch, "objects"), "category", 2 * number)
        self.parts = RegionColumn(_column(batch, "parts"), "name", 2 * number + 1)
        self._seg_ends, segs = _lists(_column(batch, "seg"))
        self._seg_kinds = Words.of(_field(segs, "kind"), "kind")
        self._seg_places = _numbers(segs, "index")

    def kinds(self, row: int) -> list[str]:
        """Return source, split and task of a row."""
        return [words.words[words.places[row]] for words in self._kinds]

    def texts(self, row: int) -> list[str]:
        """Return id, question and answer of a row."""
        return [column[row].as_py() for column in self._texts]

    def images(self, row: int) -> list[tuple[int, str, str, int, int]]:
        """Return row, id, file name, width and height of each image."""
        start, stop = self._image_ends[row : row + 2].tolist()
        numbers = self._image_numbers[start:stop].tolist()
        names = [words.between(start, stop) for words in self._image_words]
        return [
            (number, image_id, file_name, width, height)
            for (number, width, height), image_id, file_name in zip(numbers, *names, strict=True)
        ]

    def segs(self, row: int) -> list[tuple[str, int]]:
        """Return the kind and the place in its list that each [SEG] means."""
        start, stop = self._seg_ends[row : row + 2].tolist()
        kinds, places = self._seg_kinds.between(start, stop), self._seg_places[start:stop].tolist()
        return list(zip(kinds, places, strict=True))


class RegionColumn:
    """A list column of objects or parts.

    Args:
        column: of the table.
        label: field of its names.
        number: of its run-length texts.
    """

    def __init__(self, column: pa.Array, label: str, number: int) -> None:
        self._ends, regions = _lists(column)
        self._labels = Words.of(_field(regions, label), label)
        mask = _field(regions, "mask")
        self._counts, self.texts = Repeated.of(_field(mask, "counts"), "counts")
        sizes = _field(mask, "size")
        if sizes.null_count or pc.any(pc.not_equal(pc.list_value_length(sizes), 2)).as_py():
            raise InputError("the table pairs holds a mask whose size is not height and width")
        flat = sizes.flatten().to_numpy(zero_copy_only=False).reshape(-1, 2)
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
    """Run-length texts as masks, each proven, those met of late only once."""

    def __init__(self) -> None:
        self._texts: dict[int, pa.Array] = {}
        self._kept: OrderedDict[MaskKey, Rle] = OrderedDict()

    def add(self, number: int, texts: pa.Array) -> None:
        """Take the texts that keys of a number mean."""
        self._texts[number] = texts

    def prepare(self, wanted: Sequence[MaskKey]) -> None:
        """Prove all texts that are not known yet, at once; broken ones are left to `read`."""
        unknown: dict[tuple[int, int], list[MaskKey]] = {}
        for key in dict.fromkeys(wanted):
            if key not in self._kept:
                unknown.setdefault((key.height, key.width), []).append(key)
        for size, keys in unknown.items():
            proven = from_strings([self._text(key) for key in keys], *size)
            for key, result in zip(keys, proven, strict=True):
                if not isinstance(result, InvalidMask):
                    self._kept[key] = result[0]

    def read(self, wanted: Sequence[MaskKey]) -> list[Rle]:
        """Return the masks that texts describe.

        Raises:
            InvalidMask: one describes none.
        """
        found = []
        for key in wanted:
            mask = self._kept.pop(key, None)
            if mask is None:
                mask = from_string(self._text(key), key.height, key.width)
            self._kept[key] = mask
            found.append(mask)
        while len(self._kept) > _KEPT_MASKS:
            self._kept.popitem(last=False)
        return found

    def _text(self, key: MaskKey) -> str:
        text: str = self._texts[key.texts][key.place].as_py()
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
    """Return where each row's list begins and the last one ends, and all that lists hold."""
    if not pa.types.is_list(column.type) and not pa.types.is_large_list(column.type):
        raise InputError(f"a column of the table pairs holds {column.type}, not lists")
    return np.asarray(column.offsets.to_numpy(), np.int64), column.values


def _field(structs: pa.Array, name: str) -> pa.Array:
    if not pa.types.is_struct(structs.type) or structs.type.get_field_index(name) < 0:
        raise InputError(f"the table pairs has no '{name}' in {structs.type}")
    return structs.field(name)


def _numbers(structs: pa.Array, name: str) -> NDArray[np.int64]:
    column = _whole(_field(structs, name), name)
    return np.asarray(column.to_numpy(zero_copy_only=False), np.int64)
