"""Samples in a compact form: numbers for each row, and every text and mask once.

The table `pairs` repeats much: thousands of samples share an image, its masks and the wording of
their questions. Here, rows consist of codes into dictionaries of the whole split. Boxes and areas
are left out, which training does not use. The tables are Arrow files, so that processes can map the
same bytes into memory and read cells without a copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mixedparts.errors import InputError

# Leaves of the schema `PAIRS` that are read with their dictionaries. Parquet leaves of nested
# columns are named with their list levels.
REPEATED = (
    "source",
    "split",
    "task",
    "images.list.element.image_id",
    "images.list.element.file_name",
    "objects.list.element.category",
    "objects.list.element.mask.counts",
    "parts.list.element.name",
    "parts.list.element.mask.counts",
    "question",
    "answer",
    "seg.list.element.kind",
)
# What is read of the table: everything but boxes, areas and the kinds of parts.
LEAVES = (
    *("id", "source", "split", "task", "images", "question", "answer", "seg"),
    *(f"objects.list.element.{leaf}" for leaf in ("image", "category", "mask")),
    *(f"parts.list.element.{leaf}" for leaf in ("image", "name", "mask")),
)


def _cells(count: int) -> pa.DataType:
    """Return the type of a list of cells with some numbers each."""
    return pa.list_(pa.list_(pa.int32(), count))


ROWS = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.int32()),  # code in `labels`, as `split` and `task`
        ("split", pa.int32()),
        ("task", pa.int32()),
        ("question", pa.int32()),  # code in `texts`, as `answer`
        ("answer", pa.int32()),
        ("image_rows", pa.list_(pa.int32())),  # rows of the images table
        ("images", _cells(4)),  # width, height, code of id and of file name in `names`
        ("objects", _cells(4)),  # image, label in `labels`, mask in `masks`, size in `sizes`
        ("parts", _cells(4)),
        ("seg", _cells(2)),  # kind in `labels`, index
    ]
)
_ORIGINS = {"image_rows": "images"}  # columns of `pairs` that have another name there
_IMAGE_FIELDS = {
    "image_rows": ("row",),
    "images": ("width", "height", "image_id", "file_name"),
}
_DICTIONARIES = ("labels", "texts", "names", "masks")
_TEXT = pa.schema([("text", pa.large_string())])
_SIZE = pa.schema([("height", pa.int32()), ("width", pa.int32())])
Codes = NDArray[np.int32]


class _Dictionary:
    """Numbers texts in the order in which they first appear."""

    def __init__(self) -> None:
        # Bytes, because Python hashes and makes them faster than strings.
        self._codes: dict[bytes, int] = {}

    def encode(self, column: pa.Array, name: str) -> Codes:
        """Return (n,) int32 codes of a text column.

        Raises:
            InputError: a row has no value.
        """
        column = _whole(column, name)
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        codes = self._codes
        texts = column.dictionary.cast(pa.large_binary()).to_pylist()
        found = np.array([codes.setdefault(text, len(codes)) for text in texts], np.int32)
        return np.asarray(found[column.indices.to_numpy()])

    def texts(self) -> pa.Array:
        """Return all texts by code."""
        return pa.array(list(self._codes), pa.large_binary()).cast(pa.large_string())


class Compactor:
    """Turns record batches of `pairs` into batches of `ROWS` and collects the dictionaries.

    A column that a batch does not have is left out.
    """

    def __init__(self) -> None:
        self._texts = {name: _Dictionary() for name in _DICTIONARIES}
        self._sizes: dict[int, int] = {}

    def compacted(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return a batch in the compact form.

        Raises:
            InputError: rows lack a value, a field is missing, or the size of a mask is not height
                and width.
        """
        names = [name for name in ROWS.names if _has(batch, name)]
        columns = [self._column(name, batch.column(_ORIGINS.get(name, name))) for name in names]
        return pa.RecordBatch.from_arrays(columns, schema=pa.schema(map(ROWS.field, names)))

    def dictionaries(self) -> dict[str, pa.RecordBatch]:
        """Return the dictionaries of all batches so far: texts, and sizes of images."""
        tables = {
            name: pa.RecordBatch.from_arrays([dictionary.texts()], schema=_TEXT)
            for name, dictionary in self._texts.items()
        }
        both = np.array(list(self._sizes), np.int64)
        arrays = [pa.array((both >> 32).astype(np.int32)), pa.array(both.astype(np.int32))]
        return {**tables, "sizes": pa.RecordBatch.from_arrays(arrays, schema=_SIZE)}

    def _column(self, name: str, column: pa.Array) -> pa.Array:
        match name:
            case "id":
                return _whole(column, name).cast(pa.string())
            case "source" | "split" | "task":
                return pa.array(self._texts["labels"].encode(column, name))
            case "question" | "answer":
                return pa.array(self._texts["texts"].encode(column, name))
            case "image_rows":
                rows = pa.array(_numbers(_values(column), "row"))
                return pa.ListArray.from_arrays(_ends(column), rows)
            case "images":
                return _listed(column, self._images(_values(column)))
            case "seg":
                return _listed(column, self._segs(_values(column)))
        label = "category" if name == "objects" else "name"
        return _listed(column, self._regions(_values(column), label))

    def _labels(self, structs: pa.Array, name: str) -> Codes:
        return self._texts["labels"].encode(_field(structs, name), name)

    def _images(self, images: pa.Array) -> list[Codes]:
        numbers = [_numbers(images, name) for name in ("width", "height")]
        names = [
            self._texts["names"].encode(_field(images, name), name)
            for name in ("image_id", "file_name")
        ]
        return [*numbers, *names]

    def _segs(self, segs: pa.Array) -> list[Codes]:
        return [self._labels(segs, "kind"), _numbers(segs, "index")]

    def _regions(self, regions: pa.Array, label: str) -> list[Codes]:
        masks = _field(regions, "mask")
        return [
            _numbers(regions, "image"),
            self._labels(regions, label),
            self._texts["masks"].encode(_field(masks, "counts"), "counts"),
            self._size_codes(_field(masks, "size")),
        ]

    def _size_codes(self, sizes: pa.Array) -> Codes:
        """Return (n,) int32 codes of the sizes (height, width) of masks."""
        if sizes.null_count or pc.any(pc.not_equal(pc.list_value_length(sizes), 2)).as_py():
            raise InputError("the table pairs contains a mask whose size is not height and width")
        flat = _whole(sizes.flatten(), "size").to_numpy().reshape(-1, 2).astype(np.int64)
        both = flat[:, 0] << 32 | flat[:, 1] & 0xFFFFFFFF
        different, places = np.unique(both, return_inverse=True)
        codes = [self._sizes.setdefault(size, len(self._sizes)) for size in different.tolist()]
        return np.array(codes, np.int32)[places]


def _has(batch: pa.RecordBatch, name: str) -> bool:
    """Return whether a batch has what a column of `ROWS` is made of."""
    origin = _ORIGINS.get(name, name)
    if origin not in batch.schema.names:
        return False
    lists = batch.schema.field(origin).type
    if name not in _IMAGE_FIELDS or not pa.types.is_list(lists):
        return True
    # Tables for some purposes list the rows of the images alone.
    present = {field.name for field in lists.value_type}
    return present.issuperset(_IMAGE_FIELDS[name])


def _whole(column: pa.Array, name: str) -> pa.Array:
    if column.null_count:
        raise InputError(f"the table pairs has rows without '{name}'")
    return column


def _values(column: pa.Array) -> pa.Array:
    """Return the structs of all lists of a column."""
    if not pa.types.is_list(column.type) and not pa.types.is_large_list(column.type):
        raise InputError(f"a column of the table pairs has {column.type}, not lists")
    return column.flatten()


def _field(structs: pa.Array, name: str) -> pa.Array:
    if not pa.types.is_struct(structs.type) or structs.type.get_field_index(name) < 0:
        raise InputError(f"the table pairs has no '{name}' in {structs.type}")
    return structs.field(name)


def _numbers(structs: pa.Array, name: str) -> Codes:
    field = _whole(_field(structs, name), name)
    return np.asarray(field.cast(pa.int32()).to_numpy())


def _listed(column: pa.Array, cells: list[Codes]) -> pa.Array:
    """Return lists as long as those of a column, of cells that have one number of each array."""
    flat = pa.array(np.column_stack(cells).reshape(-1))
    fixed = pa.FixedSizeListArray.from_arrays(flat, len(cells))
    return pa.ListArray.from_arrays(_ends(column), fixed)


def _ends(column: pa.Array) -> pa.Array:
    """Return (n + 1,) int32 ends of the lists of a column; no value is an empty list."""
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    ends = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=ends[1:])
    return pa.array(ends)


def write_compact(batches: Iterator[pa.RecordBatch], sinks: Mapping[str, pa.NativeFile]) -> None:
    """Write record batches of `pairs` in the compact form.

    Args:
        batches: in the order of the rows; all have the same columns.
        sinks: open files for `rows` and each of the dictionaries; they stay open.

    Raises:
        InputError: a row is not valid; see `Compactor.compacted`.
        OSError: a file cannot be written.
    """
    compactor = Compactor()
    rows = map(compactor.compacted, batches)
    first = next(rows, None)
    schema = pa.schema([]) if first is None else first.schema
    with pa.ipc.new_file(sinks["rows"], schema) as writer:
        if first is not None:
            writer.write_batch(first)
        for batch in rows:
            writer.write_batch(batch)
    for name, batch in compactor.dictionaries().items():
        with pa.ipc.new_file(sinks[name], batch.schema) as writer:
            writer.write_batch(batch)


FILES = ("rows", *_DICTIONARIES, "sizes")
"""Names of the files that `write_compact` writes."""
