"""Entities as rows of the `entities` table: all that pairs are made from, each mask once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mixedparts.entities.table import EntityColumns, numbers
from mixedparts.storage import schema

_COPIED = ("source", "image_id", "file_name", "width", "height", "category", "bbox", "area")


def entity_batches(
    columns: EntityColumns,
    image_rows: NDArray[np.int32],
    span: tuple[int, int],
    split: str,
    batch_rows: int = 5_000,
) -> Iterator[pa.RecordBatch]:
    """Yield a range of a split's entities as rows of the table.

    Args:
        columns: entities of the split.
        image_rows: `(n,)` int32, each entity's row in the images table, -1 where no sample uses
            the image.
        span: first entity, and the one after the last.
        split: written into the rows.
        batch_rows: most rows of a batch.

    Yields:
        Batches of the schema `ENTITY_TABLE`, in the order of the entities.
    """
    for start in range(span[0], span[1], batch_rows):
        yield _batch(columns, image_rows, start, min(span[1], start + batch_rows), split)


def _batch(
    columns: EntityColumns, image_rows: NDArray[np.int32], start: int, stop: int, split: str
) -> pa.RecordBatch:
    def part(name: str) -> pa.Array:
        return columns.column(name)[start:stop]

    # The parts of adjacent entities are adjacent too: a slice of the flat part columns, with
    # offsets counted from its beginning, gives the nested lists without a copy.
    sizes = np.stack([numbers(part(name)) for name in ("height", "width")], axis=1)
    starts = columns.part_starts[start : stop + 1]
    owner = np.repeat(np.arange(stop - start), np.diff(starts))
    inside = slice(int(starts[0]), int(starts[-1]))
    fields = {name: columns.part_column(name)[inside] for name in ("name", "bbox", "area")}
    fields["mask"] = _masks(columns.part_column("counts")[inside], sizes[owner])
    kinds = schema.ENTITY_REGION
    structs = pa.StructArray.from_arrays([fields[f.name] for f in kinds], fields=list(kinds))
    offsets = pa.array((starts - starts[0]).astype(np.int32))
    rows = image_rows[start:stop]
    made = {
        **{name: part(name) for name in _COPIED},
        "split": pa.array([split] * (stop - start), pa.string()),
        "row": pa.array(rows, pa.int32(), mask=rows < 0),
        "mask": _masks(part("counts"), sizes),
        "parts_known": part("parts_known"),
        "parts": pa.ListArray.from_arrays(offsets, structs),
    }
    return pa.RecordBatch.from_arrays(
        [made[name] for name in schema.ENTITY_TABLE.names], schema=schema.ENTITY_TABLE
    )


def _masks(counts: pa.Array, sizes: NDArray[np.int32]) -> pa.StructArray:
    """Return masks, given `(n,)` run-length texts and `(n, 2)` sizes (height, width) in pixels."""
    offsets = pa.array(np.arange(0, 2 * len(sizes) + 1, 2), pa.int32())
    flat = pa.array(sizes.reshape(-1), pa.int32())
    kinds = schema.ENTITY_REGION.field("mask").type
    return pa.StructArray.from_arrays(
        [pa.ListArray.from_arrays(offsets, flat), counts.cast(pa.string())], fields=list(kinds)
    )
