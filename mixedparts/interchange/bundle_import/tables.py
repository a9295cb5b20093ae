"""The masks of a bundle's entities on disk, and the entity table made from them.

Masks go to disk while the images are read, because which of them the samples use is known only
after the last image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mixedparts import masks
from mixedparts.entities.table import map_table
from mixedparts.interchange.bundle_import.entities import AnnotationBook, ResolvedMask
from mixedparts.masks import Rle
from mixedparts.records import ImageRecord
from mixedparts.storage.schema import ENTITIES, ENTITY_PART

_BATCH = 1_000  # entities held in memory before they are written
_REGION = [(name, ENTITIES.field(name).type) for name in ("counts", "bbox", "area")]
_COPIED = (
    *("source", "image_id", "file_name", "path", "file_bytes", "width", "height"),
    *("category", "parts_known"),
)
_OBJECTS = pa.schema(
    [("entity", pa.int64()), ("image", pa.int64())]
    + [(name, ENTITIES.field(name).type) for name in _COPIED]
    + _REGION
)
_PARTS = pa.schema([("part", pa.int64()), ("name", pa.string()), *_REGION])


class MaskStore:
    """Two Arrow files, of objects and of parts, that are written while images are read.

    A context manager: the files are complete once the context is left without an error.

    Args:
        folder: where the files go; it is created if needed.
        split: the split, part of the file names.
    """

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
        # After an error the files are closed as they are; the next run writes them again.
        if kind is None:
            self._flush()
        for writer, sink in zip(self._writers, self._sinks, strict=True):
            writer.close()
            sink.close()

    def add(
        self,
        record: ImageRecord,
        file_bytes: int,
        resolved: Sequence[ResolvedMask],
        book: AnnotationBook,
    ) -> None:
        """Store the entities of one image.

        Args:
            record: the image, under the id that the bundle's records use.
            file_bytes: size of the image file.
            resolved: its entities with their masks.
            book: the entities of the split, for classes and part names.
        """
        self._images += 1
        for item in resolved:
            entity = book.entities[item.number]
            image_id = record.image_id
            # The id of a build is the file stem for PartImageNet and ADE20K, and the COCO id for
            # PACO; the bundle's annotation files may number the images in another way.
            if record.source != "paco":
                image_id = PurePosixPath(record.file_name).stem
            self._waiting[0].append(
                {
                    "entity": item.number,
                    "image": self._images,
                    "source": record.source,
                    "image_id": image_id,
                    "file_name": record.file_name,
                    "path": record.path,
                    "file_bytes": file_bytes,
                    "width": record.width,
                    "height": record.height,
                    "category": entity.key[2],
                    "parts_known": record.parts_known,
                    **_region(item.mask),
                }
            )
            # The book has name -> number; here the part's name is looked up by its number.
            names = {number: name for (name, _), number in entity.parts.items()}
            self._waiting[1].extend(
                {"part": number, "name": names[number], **_region(mask)}
                for number, mask in item.parts.items()
            )
        if len(self._waiting[0]) >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        """Write the waiting rows, and empty both lists."""
        for writer, rows, schema in zip(
            self._writers, self._waiting, (_OBJECTS, _PARTS), strict=True
        ):
            if rows:
                writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=schema))
                rows.clear()

    def open(self) -> tuple[pa.Table, pa.Table]:
        """Return the objects and the parts as memory-mapped tables, once the context is left."""
        objects, parts = (map_table(path) for path in self._paths)
        return objects, parts


def _region(mask: Rle) -> dict[str, Any]:
    return {"counts": mask.counts, "bbox": masks.bbox(mask), "area": masks.area(mask)}


def row_of_number(table: pa.Table, column: str, size: int) -> NDArray[np.int64]:
    """Invert a column of distinct numbers.

    Args:
        table: the table.
        column: name of an integer column with distinct values in [0, size).
        size: how many numbers there are.

    Returns:
        (size,) int64: for each number the row that contains it, -1 where no row does.
    """
    rows = np.full(size, -1, np.int64)
    rows[table[column].to_numpy()] = np.arange(table.num_rows)
    return rows


def mask_reader(table: pa.Table, rows: NDArray[np.int64]) -> Callable[[int], bytes | None]:
    """Return what reads one mask.

    Args:
        table: a table with a column `counts`.
        rows: (n,) int64, row of each number in the table, -1 for a number without a mask.

    Returns:
        A function from a number to its run lengths, or to None.
    """
    counts = table["counts"]

    def mask(number: int) -> bytes | None:
        row = int(rows[number])
        return None if row < 0 else counts[row].as_buffer().to_pybytes()

    return mask


def entity_table(
    objects: pa.Table,
    parts: pa.Table,
    object_rows: Sequence[int],
    part_rows: Sequence[Sequence[int]],
    parts_known: Sequence[bool],
) -> tuple[pa.Table, NDArray[np.int64]]:
    """Return the entity table of some stored objects.

    Args:
        objects: stored objects, as `MaskStore.open` returns them.
        parts: stored parts, as `MaskStore.open` returns them.
        object_rows: row of each entity in `objects`.
        part_rows: rows of the parts of each entity in `parts`.
        parts_known: whether the records state the parts of each entity.

    Returns:
        The table in the schema `ENTITIES`, in the order in which images were read and then of
        class names; and (n,) int64, the row of each entity in it.
    """
    rows = np.array(object_rows, np.int64)
    images = objects["image"].take(pa.array(rows)).to_pylist()
    categories = objects["category"].take(pa.array(rows)).to_pylist()
    order = sorted(range(len(rows)), key=lambda n: (images[n], categories[n]))
    names = parts["name"].to_pylist()
    chosen: list[int] = []
    offsets = [0]
    for number in order:
        chosen += sorted(part_rows[number], key=names.__getitem__)
        offsets.append(len(chosen))
    taken = objects.take(pa.array(rows[order]))
    inner = parts.take(pa.array(chosen, pa.int64())).combine_chunks()
    structs = pa.StructArray.from_arrays(
        [inner[field.name].combine_chunks() for field in ENTITY_PART], fields=list(ENTITY_PART)
    )
    known = pc.and_(
        taken["parts_known"].combine_chunks(), pa.array([parts_known[n] for n in order], pa.bool_())
    )
    made = {
        "parts": pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), structs),
        "parts_known": known,
    }
    columns = [
        made[field.name] if field.name in made else taken[field.name].combine_chunks()
        for field in ENTITIES
    ]
    row_of = np.empty(len(rows), np.int64)
    row_of[order] = np.arange(len(rows))
    return pa.Table.from_arrays(columns, schema=ENTITIES), row_of
