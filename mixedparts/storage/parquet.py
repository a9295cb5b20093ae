"""Parquet files of the tables: written by row groups, read batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mixedparts.storage.schema import with_image_hint


def write_parquet(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """Write batches as row groups of one Parquet file; returns the rows written."""
    hinted = with_image_hint(schema)
    leaves = list(leaf_paths(schema))
    pictures = {leaf for leaf in leaves if leaf.endswith(".bytes")}  # compressed by nature
    rows = 0
    with pq.ParquetWriter(
        path,
        hinted,
        compression={leaf: "NONE" if leaf in pictures else "ZSTD" for leaf in leaves},
        use_dictionary=[leaf for leaf in leaves if leaf not in pictures],
        # Masks repeat within a row group, so their dictionaries pay however large they get: files
        # of a third of the size, written in half the time.
        dictionary_pagesize_limit=1 << 26,
        write_statistics=[leaf for leaf in leaves if leaf not in pictures],
    ) as writer:
        for batch in batches:
            writer.write_batch(batch.replace_schema_metadata(hinted.metadata))
            rows += batch.num_rows
    return rows


def leaf_paths(schema: pa.Schema) -> Iterator[str]:
    """Yield the Parquet paths of a schema's leaf columns, such as `parts.list.element.name`."""

    def under(path: str, kind: pa.DataType) -> Iterator[str]:
        if pa.types.is_struct(kind):
            for field in kind:
                yield from under(f"{path}.{field.name}", field.type)
        elif pa.types.is_list(kind):
            yield from under(f"{path}.list.element", kind.value_type)
        else:
            yield path

    for field in schema:
        yield from under(field.name, field.type)


def parquet_rows(path: Path) -> int:
    """Return how many rows a Parquet file's footer states."""
    return int(pq.read_metadata(path).num_rows)
