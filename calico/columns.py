"""Rows of `pairs` read from Arrow memory, without plain Python objects in between."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mixedparts.errors import InputError
from mixedparts.masks import InvalidMask, Rle, from_string, from_strings

_KEPT_MASKS = 1 << 16  # proven once, and met again in other samples; some 100 bytes each

MaskText = tuple[str, int, int]  # run-length string, height, width


class RegionCells(NamedTuple):
    """One region as its row states it."""

    label: str
    image: int
    mask: MaskText


class PairColumns:
    """The columns of one record batch of `pairs`; numbers as views, texts where they lie.

    Args:
        batch: with the columns of `mixedparts.schema.PAIRS`, boxes and areas not needed.

    Raises:
        InputError: a column is not there, or numbers are missing in it.
    """

    def __init__(self, batch: pa.RecordBatch) -> None:
        names = ("id", "source", "split", "task", "question", "answer")
        self.texts = [_texts(_column(batch, name), name) for name in names]
        self.image_ends, images = _lists(_column(batch, "images"))
        self.image_texts = [_texts(_field(images, n), n) for n in ("image_id", "file_name")]
        self.image_numbers = [_numbers(images, name) for name in ("row", "width", "height")]
        self.objects = _Regions(_column(batch, "objects"), "category")
        self.parts = _Regions(_column(batch, "parts"), "name")
        self.seg_ends, segs = _lists(_column(batch, "seg"))
        self.seg_kinds = _texts(_field(segs, "kind"), "kind")
        self.seg_places = _numbers(segs, "index")

    def row_texts(self, row: int) -> list[str]:
        """Return id, source, split, task, question and answer of a row."""
        return [column[row].as_py() for column in self.texts]

    def images(self, row: int) -> Iterator[tuple[int, str, str, int, int]]:
        """Yield row, id, file name, width and height of each image."""
        rows, widths, heights = self.image_numbers
        for place in range(self.image_ends[row], self.image_ends[row + 1]):
            image_id, file_name = (column[place].as_py() for column in self.image_texts)
            yield (
                int(rows[place]),
                image_id,
                file_name,
                int(widths[place]),
                int(heights[place]),
            )

    def segs(self, row: int) -> Iterator[tuple[str, int]]:
        """Yield the kind and the place in its list that each [SEG] means."""
        for place in range(self.seg_ends[row], self.seg_ends[row + 1]):
            yield self.seg_kinds[place].as_py(), int(self.seg_places[place])


class _Regions:
    """A list column of objects or parts."""

    def __init__(self, column: pa.Array, label: str) -> None:
        self.ends, regions = _lists(column)
        self.labels = _texts(_field(regions, label), label)
        self.image = _numbers(regions, "image")
        mask = _field(regions, "mask")
        self.counts = _texts(_field(mask, "counts"), "counts")
        sizes = _field(mask, "size")
        if sizes.null_count or pc.any(pc.not_equal(pc.list_value_length(sizes), 2)).as_py():
            raise InputError("the table pairs holds a mask whose size is not height and width")
        self.sizes = sizes.flatten().to_numpy(zero_copy_only=False).reshape(-1, 2)

    def of(self, row: int) -> list[RegionCells]:
        """Return the regions of a row."""
        return [
            RegionCells(
                self.labels[place].as_py(),
                int(self.image[place]),
                (self.counts[place].as_py(), *self.sizes[place].tolist()),
            )
            for place in range(self.ends[row], self.ends[row + 1])
        ]


class MaskTexts:
    """Run-length strings as masks, each proven, those met of late only once."""

    def __init__(self) -> None:
        self._kept: OrderedDict[MaskText, Rle] = OrderedDict()

    def prepare(self, wanted: Sequence[MaskText]) -> None:
        """Prove all strings that are not known yet, at once; broken ones are left to `read`."""
        unknown: dict[tuple[int, int], list[str]] = {}
        for counts, height, width in dict.fromkeys(wanted):
            if (counts, height, width) not in self._kept:
                unknown.setdefault((height, width), []).append(counts)
        for size, strings in unknown.items():
            for counts, result in zip(strings, from_strings(strings, *size), strict=True):
                if not isinstance(result, InvalidMask):
                    self._kept[(counts, *size)] = result[0]

    def read(self, wanted: Sequence[MaskText]) -> list[Rle]:
        """Return the masks that strings describe.

        Raises:
            InvalidMask: one describes none.
        """
        found = []
        for text in wanted:
            mask = self._kept.pop(text, None)
            self._kept[text] = mask = from_string(*text) if mask is None else mask
            found.append(mask)
        while len(self._kept) > _KEPT_MASKS:
            self._kept.popitem(last=False)
        return found


def _column(batch: pa.RecordBatch, name: str) -> pa.Array:
    if name not in batch.schema.names:
        raise InputError(f"the table pairs has no column '{name}'")
    return batch.column(name)


def _texts(column: pa.Array, name: str) -> pa.Array:
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
    column = _field(structs, name)
    if column.null_count:
        raise InputError(f"the table pairs has rows without '{name}'")
    return np.asarray(column.to_numpy(zero_copy_only=False), np.int64)
