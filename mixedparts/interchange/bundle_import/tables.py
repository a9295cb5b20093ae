"""Masks of a bundle's entities on disk, and the entity table of the views that rows use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mixedparts import masks
from mixedparts.entities.table import map_table
from mixedparts.interchange.bundle_import.entities import AnnotationBook, ResolvedMask, View
from mixedparts.masks import Rle
from mixedparts.records import ImageRecord
from mixedparts.storage.schema import ENTITIES, ENTITY_PART

_BATCH = 1_000  # entities
_REGION = [(name, ENTITIES.field(name).type) for name in ("counts", "bbox", "area")]
_COPIED = ("source", "image_id", "file_name", "path", "width", "height", "category", "parts_known")
_OBJECTS = pa.schema(
    [("entity", pa.int64()), ("image", pa.int64())]
    + [(name, ENTITIES.field(name).type) for name in _COPIED]
    + _REGION
)
_PARTS = pa.schema([("part", pa.int64()), ("name", pa.string()), *_REGION])


class MaskStore:
    """Two Arrow files that grow while a split's images are read."""

    def __init__(self, folder: Path, split: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._paths = [folder / f"{split}-found-{name}.arrow" for name in ("objects", "parts")]
        self._sinks = [pa.OSFile(str(path), "wb") for path in self._paths]
        self._writers = [
            pa.ipc.new_file(sink, schema)
            for sink, schema in zip(self._sinks, (_OBJECTS, _PARTS), strict=True)
        ]
        self._waiting: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
        self._images = 0

    def __enter__(self) -> MaskStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._flush()
        for writer, sink in zip(self._writers, self._sinks, strict=True):
            writer.close()
            sink.close()

    def add(self, record: ImageRecord, found: Sequence[ResolvedMask], book: AnnotationBook) -> None:
        """Store the entities of one image."""
        self._images += 1
        for item in found:
            entity = book.entities[item.number]
            image_id = record.image_id
            if record.source != "paco":  # in these a build goes by the name of the picture
                image_id = PurePosixPath(record.file_name).stem
            self._waiting[0].append(
                {
                    "entity": item.number,
                    "image": self._images,
                    "source": record.source,
                    "image_id": image_id,
                    "file_name": record.file_name,
                    "path": record.path,
                    "width": record.width,
                    "height": record.height,
                    "category": entity.key[2],
                    "parts_known": record.parts_known and entity.parts_told,
                    **_region(item.mask),
                }
            )
            names = {number: name for (name, _), number in entity.parts.items()}
            self._waiting[1].extend(
                {"part": number, "name": names[number], **_region(mask)}
                for number, mask in item.parts.items()
            )
        if len(self._waiting[0]) >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        """Write what is waiting."""
        for writer, rows, schema in zip(
            self._writers, self._waiting, (_OBJECTS, _PARTS), strict=True
        ):
            if rows:
                writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=schema))
                rows.clear()

    def open(self) -> tuple[pa.Table, pa.Table]:
        """Return the objects and the parts, mapped, after the store has been left."""
        objects, parts = (map_table(path) for path in self._paths)
        return objects, parts


def _region(mask: Rle) -> dict[str, Any]:
    return {"counts": mask.counts, "bbox": masks.bbox(mask), "area": masks.area(mask)}


def places(table: pa.Table, column: str, size: int) -> NDArray[np.int64]:
    """Return (size,) the row of each number in a column, -1 where it is missing."""
    found = np.full(size, -1, np.int64)
    found[table[column].to_numpy()] = np.arange(table.num_rows)
    return found


def entity_table(
    objects: pa.Table,
    parts: pa.Table,
    entity_places: NDArray[np.int64],
    part_places: NDArray[np.int64],
    views: Sequence[View],
) -> tuple[pa.Table, NDArray[np.int64]]:
    """Return the entity table of some views, and the row of each.

    Rows follow the order in which images were read, then class names.
    """
    rows = entity_places[[entity for entity, _ in views]] if views else np.zeros(0, np.int64)
    images = objects["image"].take(pa.array(rows)).to_pylist()
    categories = objects["category"].take(pa.array(rows)).to_pylist()
    order = sorted(range(len(views)), key=lambda n: (images[n], categories[n], n))
    names = parts["name"].to_pylist()
    chosen: list[int] = []
    offsets = [0]
    for number in order:
        mine = [int(part_places[part]) for part in views[number][1]]
        chosen += sorted(mine, key=names.__getitem__)
        offsets.append(len(chosen))
    taken = objects.take(pa.array(rows[order]))
    inner = parts.take(pa.array(chosen, pa.int64())).combine_chunks()
    structs = pa.StructArray.from_arrays(
        [_one(inner[field.name], field.type) for field in ENTITY_PART], fields=list(ENTITY_PART)
    )
    lists = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), structs)
    columns = [
        lists if field.name == "parts" else _one(taken[field.name], field.type)
        for field in ENTITIES
    ]
    row_of = np.empty(len(views), np.int64)
    row_of[order] = np.arange(len(views))
    return pa.Table.from_arrays(columns, schema=ENTITIES), row_of


def _one(column: pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    combined = column.combine_chunks()
    if isinstance(combined, pa.ChunkedArray):
        return combined.chunk(0) if combined.num_chunks else pa.array([], kind)
    return combined
