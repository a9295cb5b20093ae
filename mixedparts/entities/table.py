"""Entities on disk: an uncompressed Arrow file that many processes map into memory and share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mixedparts.entities.normalise import Entity, NamedMask
from mixedparts.records import ImageRecord
from mixedparts.storage.schema import ENTITIES


def entity_rows(read: Iterable[tuple[ImageRecord, int, list[Entity]]]) -> pa.Table:
    """Return a table with one row an entity, in the order of records and of their entities.

    Rows of one image are therefore adjacent, which `EntityColumns.first_of_image` relies on.

    Args:
        read: image records, each with the size of its image file in bytes and its entities.
    """
    owners: list[ImageRecord] = []
    sizes: list[int] = []
    rows: list[Entity] = []
    for record, file_bytes, entities in read:
        rows += entities
        owners += [record] * len(entities)
        sizes += [file_bytes] * len(entities)
    parts = _regions([part for entity in rows for part in entity.parts])
    starts = np.cumsum([0, *(len(entity.parts) for entity in rows)])
    kind = ENTITIES.field("parts").type
    structs = pa.StructArray.from_arrays(
        [parts[field.name] for field in kind.value_type], fields=list(kind.value_type)
    )
    regions = _regions([entity.region for entity in rows])
    columns: dict[str, Any] = {
        **regions,
        **{name: [getattr(owner, name) for owner in owners] for name in _OF_IMAGE},
        "file_bytes": sizes,
        "category": regions["name"],
        "parts_known": [entity.parts_known for entity in rows],
        "parts": pa.LargeListArray.from_arrays(pa.array(starts, pa.int64()), structs, type=kind),
    }
    return pa.table([columns[name] for name in ENTITIES.names], schema=ENTITIES)


_OF_IMAGE = ("source", "image_id", "file_name", "path", "width", "height")


def _regions(regions: Sequence[NamedMask]) -> dict[str, pa.Array]:
    """Return the columns of some regions."""
    boxes = np.array([region.bbox for region in regions], np.float32).reshape(-1)
    offsets = pa.array(np.arange(0, boxes.size + 1, 4), pa.int32())
    return {
        "name": pa.array([region.name for region in regions], pa.string()),
        "counts": pa.array([region.mask.counts for region in regions], pa.large_string()),
        "bbox": pa.ListArray.from_arrays(
            offsets, pa.array(boxes), type=ENTITIES.field("bbox").type
        ),
        "area": pa.array([region.area for region in regions], pa.int64()),
    }


def write_table(table: pa.Table, path: Path) -> int:
    """Write a table as one Arrow file of one batch, and return its number of rows."""
    # One batch, because `EntityColumns` reads each column as one contiguous array.
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return len(table)


def map_table(path: Path) -> pa.Table:
    """Open an Arrow file as a memory-mapped table: bytes are read when they are accessed."""
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def count_rows(path: Path) -> int:
    """Return the number of rows of an Arrow file."""
    return len(map_table(path))


@dataclass(frozen=True, slots=True)
class EntityColumns:
    """The entities of one split with flat parts, ready for vectorised look-up.

    Attributes:
        table: one row an entity, entities of one image adjacent.
        part_starts: `(n + 1,)` integers, where each entity's parts begin in the part columns.
        part_codes: `(p,)` int64, index into `part_names`; rising within an entity.
        part_names: part names in alphabetical order.
    """

    table: pa.Table
    part_starts: NDArray[np.int64]
    part_codes: NDArray[np.int64]
    part_names: tuple[str, ...]

    @classmethod
    def of(cls, table: pa.Table) -> EntityColumns:
        """Return the columns of a table; it must consist of one batch."""
        flat = _single(table["parts"])
        codes, names = _ranked(flat.values.field("name"))
        return cls(table, numbers(flat.offsets), codes, names)

    def column(self, name: str) -> pa.Array:
        """Return a column as one array."""
        return _single(self.table[name])

    def part_column(self, name: str) -> pa.Array:
        """Return a field of all parts as one array."""
        return _single(self.table["parts"]).values.field(name)

    def coded(self, name: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """Return a text column as `(n,)` int64 codes and the values in alphabetical order."""
        return _ranked(self.column(name))

    def first_of_image(self) -> NDArray[np.int64]:
        """Return `(images,)` int64, the first row of each image in the order of the table."""
        if self.table.num_rows == 0:
            return np.zeros(0, np.int64)
        keys = (self.column(name) for name in ("source", "image_id"))
        # Neighbours are compared as text: to number all names first takes ten times as long.
        changes = [pc.not_equal(key[1:], key[:-1]).cast(pa.uint8()) for key in keys]
        return np.concatenate(([0], np.flatnonzero(np.bitwise_or(*map(numbers, changes))) + 1))


def _ranked(column: pa.Array) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return codes of a text column, and its values in alphabetical order."""
    # Arrow numbers values as they come up. Codes by the alphabet do not depend on the order of the
    # rows, so tables of the same names have the same codes.
    encoded = column.dictionary_encode()
    values = encoded.dictionary.to_pylist()
    order = sorted(range(len(values)), key=values.__getitem__)
    rank = np.empty(len(values), np.int64)
    rank[order] = np.arange(len(values))
    codes = rank[numbers(encoded.indices)]
    return codes, tuple(values[i] for i in order)


def numbers(column: pa.Array) -> NDArray[Any]:
    """Return an array of integers without nulls as NumPy's, without a copy."""
    # `to_numpy` of pyarrow imports pandas first, which takes half a second in every process.
    return np.from_dlpack(column)


def _single(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Return a column as one array, without a copy where it has one chunk."""
    if isinstance(column, pa.Array):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    # A table without rows may have no chunk at all.
    return column.combine_chunks() if column.num_chunks else pa.array([], column.type)
