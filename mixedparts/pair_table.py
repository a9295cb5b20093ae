"""Samples as rows of the `pairs` table, a batch at a time, by look-ups instead of loops.

Masks are copied as RLE text from the entity table; no mask is decoded here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mixedparts import schema, wording
from mixedparts.entity_table import EntityColumns
from mixedparts.records import Task
from mixedparts.sample_ids import id_texts
from mixedparts.select import TASKS

_KINDS = ("common", "unique")
_COMMON, _UNIQUE = 0, 1
_ANSWERS = 8_192  # answers kept for rows of equal content: about 5 MB, however many rows there are


@dataclass(frozen=True, slots=True)
class _Parts:
    """The parts that a batch's rows ground, in row order.

    Attributes:
        row: (k,) row in the batch.
        image: (k,) 0 or 1.
        place: (k,) position in the entity table's part columns.
        code: (k,) index into the part names.
        kind: (k,) `_COMMON` or `_UNIQUE`.
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


class PairTable:
    """Makes rows of `pairs` from one split's entities.

    Args:
        columns: the split's entities.
        image_rows: (n,) each entity's row in the images table.
        split: written into the rows.
    """

    def __init__(self, columns: EntityColumns, image_rows: NDArray[np.int32], split: str) -> None:
        self._columns = columns
        self._image_rows = image_rows
        self._split = split
        self._answers: dict[tuple[Task, int, int, bytes], str] = {}
        self._categories, self._category_names = columns.coded("category")

    def pictures(self, samples: NDArray[np.void], roots: Mapping[str, Path]) -> list[Path]:
        """Return the picture files of the samples' images, two a sample."""
        both = _interleave(samples)
        sources, paths = (
            self._columns.column(name).take(both).to_pylist() for name in ("source", "path")
        )
        return [roots[source] / path for source, path in zip(sources, paths, strict=True)]

    def batch(self, samples: NDArray[np.void]) -> pa.RecordBatch:
        """Return the rows of some samples, in their order."""
        parts = self._parts(samples)
        bounds = np.searchsorted(parts.row, np.arange(len(samples) + 1))
        questions, answers = self._texts(samples, parts, bounds)
        columns = [
            pa.array(id_texts(samples["id"]), pa.string()),
            self._columns.column("source").take(samples["first"]),
            pa.array([self._split] * len(samples), pa.string()),
            pa.array([TASKS[task] for task in samples["task"].tolist()], pa.string()),
            self._images(samples),
            self._objects(samples),
            self._part_lists(samples, parts, bounds),
            pa.array(questions, pa.string()),
            pa.array(answers, pa.string()),
            _seg(np.diff(bounds)),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=schema.PAIRS)

    def _parts(self, samples: NDArray[np.void]) -> _Parts:
        """Return the grounded parts: name by name if common, image by image if unique."""
        starts = self._columns.part_starts
        wanted = np.flatnonzero(samples["task"] != TASKS.index(Task.COMMON_OBJECT))
        both = _interleave(samples[wanted])
        counts = starts[both + 1] - starts[both]
        place = np.repeat(starts[both] - (np.cumsum(counts) - counts), counts) + np.arange(
            counts.sum()
        )
        side = np.repeat(np.arange(both.size), counts)
        seen = _Parts(
            wanted[side // 2], side % 2, place, self._columns.part_codes[place], np.zeros_like(side)
        )
        seen = seen.take(np.lexsort((seen.image, seen.code, seen.row)))
        twin = (seen.row[1:] == seen.row[:-1]) & (seen.code[1:] == seen.code[:-1])
        shared = np.append(twin, False) | np.append(False, twin)
        common_task = samples["task"][seen.row] == TASKS.index(Task.COMMON_PARTS)
        common = seen.take(np.flatnonzero(shared & common_task))
        unique = seen.take(np.flatnonzero(~shared & ~common_task))
        unique = unique.take(np.lexsort((unique.code, unique.image, unique.row)))
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
        return merged.take(np.argsort(merged.row, kind="stable"))

    def _texts(
        self, samples: NDArray[np.void], parts: _Parts, bounds: NDArray[np.int64]
    ) -> tuple[list[str], list[str]]:
        """Return questions and answers; equal content has one answer, worded once."""
        tasks = [TASKS[place] for place in samples["task"].tolist()]
        questions = list(map(wording.question, tasks, samples["id"].tolist()))
        categories = self._categories[_interleave(samples)].tolist()
        grounded = (parts.code * 2 + parts.image).astype(np.int32).tobytes()
        ends = (4 * bounds).tolist()
        answers = []
        for row, task in enumerate(tasks):
            key = (task, *categories[2 * row : 2 * row + 2], grounded[ends[row] : ends[row + 1]])
            answer = self._answers.get(key)
            if answer is None:
                if len(self._answers) == _ANSWERS:
                    self._answers.clear()
                answer = self._answers[key] = self._answer(*key)
            answers.append(answer)
        return questions, answers

    def _answer(self, task: Task, first: int, second: int, grounded: bytes) -> str:
        """Return the wording of an answer from class codes and packed (part code, image)."""
        names = self._category_names[first], self._category_names[second]
        if task is Task.COMMON_OBJECT:
            return wording.common_object_answer(names[0])
        packed = np.frombuffer(grounded, np.int32).tolist()
        seen = [(self._columns.part_names[code // 2], code % 2) for code in packed]
        if task is Task.COMMON_PARTS:
            return wording.part_answer(task, names, [(part, (0, 1)) for part, _ in seen[::2]])
        return wording.part_answer(task, names, [(part, (image,)) for part, image in seen])

    def _images(self, samples: NDArray[np.void]) -> pa.ListArray:
        both = _interleave(samples)
        fields = [
            self._columns.column("image_id").take(both),
            pa.array(self._image_rows[both], pa.int32()),
            *(self._columns.column(n).take(both) for n in ("file_name", "width", "height")),
        ]
        return _pairs_of(fields, schema.IMAGE_REF)

    def _objects(self, samples: NDArray[np.void]) -> pa.ListArray:
        both = _interleave(samples)
        side = pa.array(np.tile(np.array([0, 1], np.int8), len(samples)))
        take = self._columns.column
        mask = self._masks(both, take("counts").take(both))
        boxes, areas = take("bbox").take(both), take("area").take(both)
        return _pairs_of([side, take("category").take(both), mask, boxes, areas], schema.OBJECT)

    def _part_lists(
        self, samples: NDArray[np.void], parts: _Parts, bounds: NDArray[np.int64]
    ) -> pa.ListArray:
        entity = np.where(
            parts.image == 0, samples["first"][parts.row], samples["second"][parts.row]
        )
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
        """Return masks: the size of each entity's image, and the given run-length texts."""
        sizes = [self._columns.column(n).take(entity).to_numpy() for n in ("height", "width")]
        flat = pa.array(np.stack(sizes, axis=1).reshape(-1), pa.int32())
        offsets = pa.array(np.arange(0, 2 * len(entity) + 1, 2), pa.int32())
        kinds = schema.OBJECT.field("mask").type
        return pa.StructArray.from_arrays(
            [pa.ListArray.from_arrays(offsets, flat), counts.cast(pa.string())], fields=list(kinds)
        )


def _interleave(samples: NDArray[np.void]) -> NDArray[np.int64]:
    """Return first, second, first, second, … of the samples."""
    return np.stack((samples["first"], samples["second"]), axis=1).reshape(-1).astype(np.int64)


def _pairs_of(fields: list[pa.Array], kind: pa.StructType) -> pa.ListArray:
    structs = pa.StructArray.from_arrays(fields, fields=list(kind))
    offsets = pa.array(np.arange(0, len(structs) + 1, 2), pa.int32())
    return pa.ListArray.from_arrays(offsets, structs)


def _seg(part_counts: NDArray[np.int64]) -> pa.ListArray:
    """Return what each [SEG] means: the two objects, then the parts in the order of the row."""
    ends = np.cumsum(part_counts + 2)
    starts = ends - part_counts - 2
    place = np.arange(ends[-1] if ends.size else 0) - np.repeat(starts, part_counts + 2)
    is_part = place >= 2
    kinds = pa.array(["object", "part"]).take(pa.array(is_part.astype(np.int8)))
    index = pa.array(np.where(is_part, place - 2, place), pa.int32())
    structs = pa.StructArray.from_arrays([kinds, index], fields=list(schema.SEG))
    return pa.ListArray.from_arrays(pa.array(np.append(0, ends), pa.int32()), structs)
