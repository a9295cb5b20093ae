"""Rows of `pairs` with their pixels and mask pictures inside, for few rows and no other file.

The columns are those of `pairs`; every entry of `images` gets `picture`, every entry of `objects`
and `parts` gets `mask_picture` (PNG, 0 and 255). Plain `datasets` decodes both.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from mixedparts import masks
from mixedparts.interchange.export.pictures import ImageReader, open_images
from mixedparts.interchange.export.request import Job, Outcome
from mixedparts.interchange.export.rows import Row, image_split, rows_of
from mixedparts.interchange.export.webdataset import used_images_of
from mixedparts.storage.schema import PAIRS, PICTURE

_BATCH = 20  # rows in a row group: some 5 MB of pictures
_USE = """\
```python
import datasets

row = datasets.load_dataset("PATH", split="train")[0]
row["images"][0]["picture"], row["objects"][0]["mask_picture"]  # PIL pictures of one size
```

The other columns are those of `pairs`; `mask` is the same mask as COCO RLE.
"""


def write_parquet_rows(job: Job) -> Outcome:
    """Write the shards of all splits."""
    outcome = Outcome(use=_USE)
    outcome.notes = [
        "A picture is stored again in every row that shows it, so this format is for few rows; the"
        " build's own tables store each once.",
        "Previews, rejects and the manifest stay in the build.",
    ]
    schema = _schema()
    files = []
    for split, rows_in_split in job.splits.items():
        work = job.out / ".pictures.arrow"
        wanted = used_images_of(job, split)
        shards = -(-rows_in_split // job.request.shard_rows)
        with open_images(job.request.build, image_split(split), wanted, work) as pictures:
            job.progress.start(f"parquet {split}", rows_in_split, "rows")
            rows = rows_of(job, split)
            for number in range(shards):
                path = job.out / "data" / f"{split}-{number:05d}-of-{shards:05d}.parquet"
                path.parent.mkdir(exist_ok=True)
                with pq.ParquetWriter(path, schema, compression="ZSTD") as writer:
                    for batch in _batches(islice(rows, job.request.shard_rows)):
                        full = [_with_pictures(row, pictures) for row in batch]
                        writer.write_table(pa.Table.from_pylist(full, schema=schema))
                        outcome.rows[split] += len(full)
            job.progress.finish()
        files.append({"split": split, "path": f"data/{split}-*.parquet"})
    outcome.front = {"configs": [{"config_name": "default", "data_files": files}]}
    return outcome


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while batch := list(islice(rows, _BATCH)):
        yield batch


def _schema() -> pa.Schema:
    """Return the columns, with the metadata that makes `datasets` decode the nested pictures."""
    import datasets

    fields = [
        _with_field(field, "picture")
        if field.name == "images"
        else _with_field(field, "mask_picture")
        if field.name in ("objects", "parts")
        else field
        for field in PAIRS
    ]
    plain = pa.schema(fields)
    features = datasets.Features.from_arrow_schema(plain)
    for column, name in (
        ("images", "picture"), ("objects", "mask_picture"), ("parts", "mask_picture")
    ):  # fmt: skip
        features[column].feature[name] = datasets.Image()
    return plain.with_metadata(features.arrow_schema.metadata)


def _with_field(field: pa.Field, name: str) -> pa.Field:
    return field.with_type(pa.list_(pa.struct([*field.type.value_type, pa.field(name, PICTURE)])))


def _with_pictures(row: Row, pictures: ImageReader) -> dict[str, Any]:
    images = [
        {**ref, "picture": {"bytes": pictures.row(ref["row"])["image"]["bytes"], "path": None}}
        for ref in row["images"]
    ]
    regions = {
        column: [
            {**item, "mask_picture": {"bytes": _mask_png(item["mask"]), "path": None}}
            for item in row[column]
        ]
        for column in ("objects", "parts")
    }
    return {**row, "images": images, **regions}


def _mask_png(mask: dict[str, Any]) -> bytes:
    height, width = mask["size"]
    dense = masks.decode(masks.Rle(height, width, mask["counts"].encode()))
    stream = io.BytesIO()
    Image.fromarray(dense * 255).save(stream, "PNG", optimize=False, compress_level=6)
    return stream.getvalue()
