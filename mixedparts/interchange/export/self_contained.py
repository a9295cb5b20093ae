"""Export of rows of `pairs` with pixels and mask images inside, for small, self-contained files.

The columns are those of `pairs`. Every entry of `images` has an additional field `picture`, every
entry of `objects` and `parts` a field `mask_picture` (PNG, values 0 and 255). `datasets` alone
decodes both.
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
from mixedparts.interchange.export.request import Job, Outcome
from mixedparts.interchange.export.rows import Row, exported_rows, image_split, used_image_rows
from mixedparts.storage.schema import ENCODED_IMAGE, PAIRS
from mixedparts.tables.stored_images import ImageReader, open_images

_BATCH = 20  # rows in a row group: about 5 MB of images
_USE = """\
```python
import datasets

row = datasets.load_dataset("PATH", split="train")[0]
row["images"][0]["picture"], row["objects"][0]["mask_picture"]  # PIL images of one size
```

The other columns are those of `pairs`; `mask` is the same mask as COCO RLE.
"""


def write_parquet_rows(job: Job) -> Outcome:
    """Write the Parquet shards of all splits, and return the result of the export."""
    outcome = Outcome(use=_USE)
    outcome.notes = [
        "An image is stored again in every row that shows it, so this format is for few rows; the"
        " build's own tables store each once.",
        "Previews, rejects and the manifest stay in the build.",
    ]
    schema = _schema()
    files = []
    for split, rows_in_split in job.splits.items():
        work = job.out / ".pictures.arrow"
        wanted = used_image_rows(job, split)
        shards = -(-rows_in_split // job.request.shard_rows)  # rounded up
        with open_images(job.build, image_split(split), wanted, work) as reader:
            job.progress.start(f"parquet {split}", rows_in_split, "rows")
            rows = exported_rows(job, split)
            for number in range(shards):
                path = job.out / "data" / f"{split}-{number:05d}-of-{shards:05d}.parquet"
                path.parent.mkdir(exist_ok=True)
                with pq.ParquetWriter(path, schema, compression="ZSTD") as writer:
                    for batch in _batches(islice(rows, job.request.shard_rows)):
                        full = [_with_images(row, reader) for row in batch]
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
    """Return the schema with the metadata that makes `datasets` decode the nested images."""
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
    # In Arrow an image is a struct of bytes and path. `datasets` decodes it only if the schema's
    # metadata declares an image: declare the nested fields as images, and take the metadata that
    # `datasets` itself writes for such features.
    features = datasets.Features.from_arrow_schema(plain)
    for column, name in (
        ("images", "picture"), ("objects", "mask_picture"), ("parts", "mask_picture")
    ):  # fmt: skip
        features[column].feature[name] = datasets.Image()
    return plain.with_metadata(features.arrow_schema.metadata)


def _with_field(field: pa.Field, name: str) -> pa.Field:
    image = pa.field(name, ENCODED_IMAGE)
    return field.with_type(pa.list_(pa.struct([*field.type.value_type, image])))


def _with_images(row: Row, reader: ImageReader) -> dict[str, Any]:
    """Return a row with the bytes of its images and a PNG of each mask."""
    images = [
        {**ref, "picture": {"bytes": reader.row(ref["row"])["image"]["bytes"], "path": None}}
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
    """Return a mask as an 8-bit grey PNG of its image's size, 255 on the mask."""
    height, width = mask["size"]
    dense = masks.decode(masks.Rle(height, width, mask["counts"].encode()))
    stream = io.BytesIO()
    # Explicit settings, so that the bytes do not depend on the defaults of a Pillow version.
    Image.fromarray(dense * 255).save(stream, "PNG", optimize=False, compress_level=6)
    return stream.getvalue()
