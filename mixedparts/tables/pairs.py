"""Samples as rows of the `pairs` table, a batch at a time.

A build can have millions of rows, so all columns of a batch come from look-ups in the entity table
and not from a Python loop over samples. Masks are copied as RLE text; none is decoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mixedparts.entities.table import EntityColumns, numbers
from mixedparts.pairing.samples import TASKS, source_labels
from mixedparts.records import Task
from mixedparts.storage import schema
from mixedparts.tables.image_files import ImageFile, image_files
from mixedparts.tables.texts import BatchTexts, Mentions

_KINDS = ("common", "unique")
_COMMON, _UNIQUE = 0, 1
_DIGITS = 16  # of the text of an id


@dataclass(frozen=True, slots=True)
class _Parts:
    """The parts that a batch's rows ground, in row order.

    Attributes:
        row: `(k,)` int64, row in the batch.
        image: `(k,)` int64, position of the image in the sample, from 0.
        place: `(k,)` int64, position in the entity table's part columns.
        code: `(k,)` int64, index into the part names.
        kind: `(k,)` int64, `_COMMON` or `_UNIQUE`.
    """

    row: NDArray[np.int64]
    image: NDArray[np.int64]
    place: NDArray[np.int64]
    code: NDArray[np.int64]
    kind: NDArray[np.int64]

    def take(self, index: NDArray[np.int64]) -> _Parts:
        """Return some of the entries, in the order of `index`."""
        return _Parts(
            self.row[index], self.image[index], self.place[index], self.code[index],
            self.kind[index],
        )  # fmt: skip


class PairRows:
    """Builds rows of `pairs` from one split's entities.

    Args:
        columns: entities of the split.
        image_rows: `(n,)` int32, each entity's row in the images table.
        split: written into the rows.
    """

    def __init__(self, columns: EntityColumns, image_rows: NDArray[np.int32], split: str) -> None:
        self._columns = columns
        self._image_rows = image_rows
        self._split = split
        self._categories, names = columns.coded("category")
        # The phrases depend on the number of images a sample, which the first batch brings.
        self._texts = cache(partial(BatchTexts, names, columns.part_names))
        self._sources = columns.coded("source")

    def image_files(self, samples: NDArray[np.void], roots: Mapping[str, Path]) -> list[ImageFile]:
        """Return the files of the samples' images, sample by sample, given each source's root."""
        return image_files(self._columns, _flat(samples), roots)

    def batch(self, samples: NDArray[np.void]) -> pa.RecordBatch:
        """Return `(n,)` samples of `sample_type` as rows of the schema `PAIRS`, in their order."""
        parts = self._parts(samples)
        # `parts.row` rises, so the parts of row i lie between bounds i and i + 1.
        bounds = np.searchsorted(parts.row, np.arange(len(samples) + 1))
        tasks, images = samples["task"].astype(np.int64), samples["entities"].shape[1]
        columns = [
            _id_texts(samples["id"]),
            self._source(samples),
            pa.repeat(pa.scalar(self._split, pa.string()), len(samples)),
            pa.array(TASKS, pa.string()).take(pa.array(tasks)),
            self._images(samples),
            self._objects(samples),
            self._part_lists(samples, parts, bounds),
            self._texts(images).questions(tasks, samples["id"]),
            self._answers(samples, parts),
            _seg(np.diff(bounds), images),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=schema.PAIRS)

    def _source(self, samples: NDArray[np.void]) -> pa.Array:
        codes, names = source_labels(samples, self._sources)
        return pa.array(names, pa.string()).take(pa.array(codes))

    def _parts(self, samples: NDArray[np.void]) -> _Parts:
        """Return the parts to ground: common ones name by name, unique ones image by image."""
        starts = self._columns.part_starts
        wanted = np.flatnonzero(samples["task"] != TASKS.index(Task.COMMON_OBJECT))
        images = samples["entities"].shape[1]
        entities = _flat(samples[wanted])
        counts = starts[entities + 1] - starts[entities]
        # Concatenated ranges: the parts of each entity, from its start on.
        place = np.repeat(starts[entities] - (np.cumsum(counts) - counts), counts) + np.arange(
            counts.sum()
        )
        side = np.repeat(np.arange(entities.size), counts)
        row, image = np.divmod(side, images)
        seen = _Parts(
            wanted[row], image, place, self._columns.part_codes[place], np.zeros_like(side)
        )
        # An entity has a part name at most once. Sorted by row and name, the length of a run is
        # therefore the number of images that show the part.
        names = seen.row * len(self._columns.part_names) + seen.code
        # No two are equal, so the order is the same for every kind of sort.
        order = np.argsort(names * images + seen.image)
        seen = seen.take(order)
        shown = _run_lengths(names[order])
        common_task = samples["task"][seen.row] == TASKS.index(Task.COMMON_PARTS)
        common = seen.take(np.flatnonzero((shown == images) & common_task))
        unique = seen.take(np.flatnonzero((shown == 1) & ~common_task))
        place_of = (unique.row * images + unique.image) * len(self._columns.part_names)
        unique = unique.take(np.argsort(place_of + unique.code))
        kind = np.concatenate(
            (np.full(common.row.size, _COMMON), np.full(unique.row.size, _UNIQUE))
        )
        merged = _Parts(
            np.concatenate((common.row, unique.row)),
            np.concatenate((common.image, unique.image)),
            np.concatenate((common.place, unique.place)),
            np.concatenate((common.code, unique.code)),
            kind,
        )
        # The stable sort leaves the order within each row as it is.
        return merged.take(np.argsort(merged.row, kind="stable"))

    def _answers(self, samples: NDArray[np.void], parts: _Parts) -> pa.Array:
        """Return the answers; a common part is named once, for all images."""
        images = samples["entities"].shape[1]
        # `BatchTexts` takes the number of images as "all of them".
        common = parts.kind == _COMMON
        named = ~common | (parts.image == 0)
        image = np.where(common, images, parts.image)
        mentions = Mentions(parts.row[named], parts.code[named], image[named])
        classes = self._categories[samples["entities"]]
        return self._texts(images).answers(samples["task"].astype(np.int64), classes, mentions)

    def _images(self, samples: NDArray[np.void]) -> pa.ListArray:
        entities, take = _flat(samples), self._columns.column
        fields = [
            take("image_id").take(entities),
            pa.array(self._image_rows[entities], pa.int32()),
            *(take(name).take(entities) for name in ("file_name", "width", "height")),
        ]
        return _lists_of(fields, schema.IMAGE_REF, samples["entities"].shape[1])

    def _objects(self, samples: NDArray[np.void]) -> pa.ListArray:
        entities, take = _flat(samples), self._columns.column
        images = samples["entities"].shape[1]
        side = pa.array(np.tile(np.arange(images, dtype=np.int8), len(samples)))
        mask = self._masks(entities, take("counts").take(entities))
        boxes, areas = take("bbox").take(entities), take("area").take(entities)
        fields = [side, take("category").take(entities), mask, boxes, areas]
        return _lists_of(fields, schema.OBJECT, images)

    def _part_lists(
        self, samples: NDArray[np.void], parts: _Parts, bounds: NDArray[np.int64]
    ) -> pa.ListArray:
        entity = samples["entities"][parts.row, parts.image]
        take = self._columns.part_column
        fields = [
            pa.array(parts.image.astype(np.int8)),
            take("name").take(parts.place),
            pa.array(_KINDS, pa.string()).take(parts.kind),
            self._masks(entity, take("counts").take(parts.place)),
            take("bbox").take(parts.place),
            take("area").take(parts.place),
        ]
        structs = pa.StructArray.from_arrays(fields, fields=list(schema.PART))
        return pa.ListArray.from_arrays(pa.array(bounds.astype(np.int32)), structs)

    def _masks(self, entity: NDArray[np.int64], counts: pa.Array) -> pa.StructArray:
        """Return masks of `(k,)` run-length texts, with the size of each entity's image."""
        sizes = [numbers(self._columns.column(n).take(entity)) for n in ("height", "width")]
        flat = pa.array(np.stack(sizes, axis=1).reshape(-1), pa.int32())
        offsets = pa.array(np.arange(0, 2 * len(entity) + 1, 2), pa.int32())
        kinds = schema.OBJECT.field("mask").type
        return pa.StructArray.from_arrays(
            [pa.ListArray.from_arrays(offsets, flat), counts.cast(pa.string())], fields=list(kinds)
        )


def _id_texts(ids: NDArray[np.uint64]) -> pa.Array:
    """Return `samples.id_texts` of `(n,)` ids as one array."""
    digits = ids.astype(">u8").tobytes().hex().encode()
    offsets = np.arange(0, len(digits) + 1, _DIGITS, dtype=np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(digits)]
    return pa.Array.from_buffers(pa.string(), len(ids), buffers)


def _flat(samples: NDArray[np.void]) -> NDArray[np.int64]:
    """Return the entities of all samples as one int64 column, in the order of their images."""
    return samples["entities"].reshape(-1).astype(np.int64)


def _run_lengths(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each of some rising keys how often it occurs."""
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: keys.size])
    lengths = np.diff(np.append(starts, keys.size))
    return np.repeat(lengths, lengths)


def _lists_of(fields: list[pa.Array], kind: pa.StructType, length: int) -> pa.ListArray:
    """Return the structs of some fields as lists of one length."""
    structs = pa.StructArray.from_arrays(fields, fields=list(kind))
    offsets = pa.array(np.arange(0, len(structs) + 1, length), pa.int32())
    return pa.ListArray.from_arrays(offsets, structs)


def _seg(part_counts: NDArray[np.int64], objects: int) -> pa.ListArray:
    """Return the mask that each [SEG] token means: objects first, then parts as in the row."""
    # A token names a mask by its list (`object` or `part`) and its position there.
    lengths = part_counts + objects
    ends = np.cumsum(lengths)
    place = np.arange(ends[-1] if ends.size else 0) - np.repeat(ends - lengths, lengths)
    is_part = place >= objects
    kinds = pa.array(["object", "part"]).take(pa.array(is_part.astype(np.int8)))
    index = pa.array(np.where(is_part, place - objects, place), pa.int32())
    structs = pa.StructArray.from_arrays([kinds, index], fields=list(schema.SEG))
    return pa.ListArray.from_arrays(pa.array(np.append(0, ends), pa.int32()), structs)
