"""Write the Parquet files of the tables, one row group a batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mixedparts.storage.schema import with_image_hint


def write_parquet(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """Write batches as the row groups of one Parquet file.

    Args:
        path: the file.
        schema: columns of the table.
        batches: rows of this schema; each batch becomes one row group.

    Returns:
        Number of rows written.
    """
    hinted = with_image_hint(schema)
    leaves = list(leaf_paths(schema))
    # Encoded images are compressed already and do not repeat: a second compression, dictionaries
    # and statistics would only cost time.
    encoded = {leaf for leaf in leaves if leaf.endswith(".bytes")}
    rows = 0
    with pq.ParquetWriter(
        path,
        hinted,
        compression={leaf: "NONE" if leaf in encoded else "ZSTD" for leaf in leaves},
        use_dictionary=[leaf for leaf in leaves if leaf not in encoded],
        # Masks repeat within a row group, so a dictionary pays at any size: files have a third of
        # the size and are written in half the time. The default limit of 1 MiB would stop it early.
        dictionary_pagesize_limit=1 << 26,
        write_statistics=[leaf for leaf in leaves if leaf not in encoded],
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
    """Return the number of rows that the footer of a Parquet file states."""
    return int(pq.read_metadata(path).num_rows)
