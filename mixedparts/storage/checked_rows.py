"""Rows of a build for readers that take them as they are, such as exports and statistics.

A build can come from anywhere, and digests that fit show only that somebody wrote them. Batches are
checked as a whole for what such readers would stumble over: missing values, and references to
nothing. The rules about the meaning of rows are those of `mixedparts.verification`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mixedparts.records import Task
from mixedparts.storage.build_folder import BuildFolder, DamagedShard

# Where the schema allows no value: pixels that a build leaves out, and the row of an image that no
# sample shows.
_NULLABLE = {"images.image", "images.image.bytes", "images.image.path", "entities.row"}
_NULLABLE |= {"preview.picture.path", "images.licence"}
_LENGTHS = {"size": 2, "bbox": 4}


def checked_batches(
    build: BuildFolder,
    table: str,
    split: str | None = None,
    columns: Sequence[str] | None = None,
    rows: int = 1_000,
) -> Iterator[pa.RecordBatch]:
    """Yield a table batch by batch, as `BuildFolder.batches`.

    Args:
        build: the build.
        table: `pairs`, `images`, `entities` or `preview`.
        split: one split; None for all of them.
        columns: columns, or paths of leaf columns; None for all of them.
        rows: most rows of a batch.

    Yields:
        Record batches whose rows can be used.

    Raises:
        DamagedShard: a file is missing or damaged, or a row cannot be used.
    """
    for shard in build.table_shards(table, split):
        for batch in build.shard_batches(shard.path, columns, rows):
            fault = row_fault(batch, table) or _task_fault(batch, table)
            if fault is not None:
                raise DamagedShard(build.path, shard.path, fault)
            yield batch


def checked_rows(
    build: BuildFolder, table: str, split: str | None = None, columns: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table as dicts, as `BuildFolder.rows`.

    Args:
        build: the build.
        table: `pairs`, `images`, `entities` or `preview`.
        split: one split; None for all of them.
        columns: columns to read; None for all of them.

    Yields:
        One dict a row.

    Raises:
        DamagedShard: a file is missing or damaged, or a row cannot be used.
    """
    for batch in checked_batches(build, table, split, columns):
        yield from batch.to_pylist()


def row_fault(batch: pa.RecordBatch, table: str) -> str | None:
    """Return what is wrong with the first row that cannot be used; None if all can be.

    An unknown task is not a fault here: the page shows it as text.

    Args:
        batch: rows with some or all columns of the table.
        table: `pairs`, `images`, `entities` or `preview`.
    """
    for name in batch.schema.names:
        fault = next(_value_faults(batch[name], f"{table}.{name}"), None)
        if fault is not None:
            return fault
    columns = {name: batch[name] for name in batch.schema.names}
    if table == "pairs":
        return next(_reference_faults(columns), None)
    return next(_size_faults(columns), None) if table == "entities" else None


def _task_fault(batch: pa.RecordBatch, table: str) -> str | None:
    """Return what is wrong with the tasks of rows of `pairs`; None if each of them is known."""
    if table != "pairs" or "task" not in batch.schema.names:
        return None
    unknown = sorted(set(pc.unique(batch["task"]).to_pylist()) - set(map(str, Task)))
    return f"there is no task {unknown[0]!r}" if unknown else None


def _value_faults(array: Any, path: str) -> Iterator[str]:
    """Yield a sentence for values that are missing in an array, or in arrays inside it."""
    if array.null_count and path not in _NULLABLE:
        yield f"{path} has no value in {array.null_count} places"
        return
    if pa.types.is_struct(array.type):
        for field in array.type:
            inner = pc.struct_field(array.drop_null(), field.name)
            yield from _value_faults(inner, f"{path}.{field.name}")
    elif pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        wanted = _LENGTHS.get(path.rpartition(".")[2])
        if wanted is not None and (_lengths(array) != wanted).any():
            yield f"{path} has another number of values than {wanted}"
            return
        yield from _value_faults(array.flatten(), path)


def _reference_faults(columns: dict[str, Any]) -> Iterator[str]:
    """Yield a sentence for an index in rows of `pairs` that leads to nothing."""
    if "images" not in columns:
        return
    counts = _lengths(columns["images"])
    if (counts < 2).any():
        yield "a row has fewer than 2 images"
    sized = {"width", "height"} <= {*_fields(columns["images"])}
    for name in ("objects", "parts"):
        if name not in columns or "image" not in _fields(columns[name]):
            continue
        images, owners = _inner(columns[name], "image")
        if ((images < 0) | (images >= counts[owners])).any():
            yield f"an entry of {name} is of an image that its row does not have"
        if sized and "mask" in _fields(columns[name]):
            shown = (np.cumsum(counts) - counts)[owners] + images
            yield from _other_sizes(columns[name], _sizes(columns["images"].flatten())[shown])
    if "objects" in columns and (_lengths(columns["objects"]) != counts).any():
        yield "a row has another number of objects than of images"
    if {"objects", "parts", "seg"} <= columns.keys():
        numbers, owners = _inner(columns["seg"], "index")
        kinds = pc.struct_field(columns["seg"].flatten(), "kind").to_pylist()
        sizes = {name: _lengths(columns[f"{name}s"])[owners] for name in ("object", "part")}
        nothing = np.zeros(len(numbers), np.int64)
        limits = np.array([sizes.get(k, nothing)[n] for n, k in enumerate(kinds)], np.int64)
        if ((numbers < 0) | (numbers >= limits)).any():
            yield "an entry of seg means a mask that its row does not have"


def _size_faults(columns: dict[str, Any]) -> Iterator[str]:
    """Yield a sentence for masks in rows of `entities` that have another size than their image."""
    if not {"width", "height", "mask", "parts"} <= columns.keys():
        return
    images = np.column_stack((np.asarray(columns["height"]), np.asarray(columns["width"])))
    if (_mask_sizes(columns["mask"]) != images).any():
        yield "a mask has another size than its image"
    yield from _other_sizes(columns["parts"], images.repeat(_lengths(columns["parts"]), axis=0))


def _other_sizes(regions: Any, images: NDArray[np.int64]) -> Iterator[str]:
    """Yield a sentence if masks in lists of regions have other sizes than the (n, 2) given ones."""
    if (_mask_sizes(pc.struct_field(regions.flatten(), "mask")) != images).any():
        yield "a mask has another size than its image"


def _mask_sizes(masks: Any) -> NDArray[np.int64]:
    """Return (n, 2) height and width of masks; each `size` has been found to have two values."""
    flat = pc.struct_field(masks, "size").flatten()
    return np.asarray(flat, np.int64).reshape(-1, 2)


def _sizes(images: Any) -> NDArray[np.int64]:
    """Return (n, 2) height and width of image references."""
    return np.column_stack([np.asarray(pc.struct_field(images, n)) for n in ("height", "width")])


def _lengths(lists: Any) -> NDArray[np.int64]:
    return np.asarray(pc.list_value_length(lists), np.int64)


def _fields(lists: Any) -> list[str]:
    return [field.name for field in lists.type.value_type]


def _inner(lists: Any, field: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return a field of all entries of some lists, and the row that each entry is in."""
    lengths = _lengths(lists)
    values = np.asarray(pc.struct_field(lists.flatten(), field), np.int64)
    return values, np.arange(len(lengths)).repeat(lengths)
