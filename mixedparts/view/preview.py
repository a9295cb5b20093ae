"""The `preview` table: some samples with their masks drawn in, for people and dataset viewers."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from mixedparts.masks import Rle
from mixedparts.schema import PREVIEW
from mixedparts.view.overlay import Marked, Picture, draw_sample

A_CELL = 20  # samples a source and task


def preview_batches(base: Path, split: str) -> Iterator[pa.RecordBatch]:
    """Yield drawn samples of a split, the first `A_CELL` of every source and task.

    Args:
        base: folder with `pairs/` and `images/`.
        split: one that `pairs/` holds; `benchmark` looks its pictures up in test.
    """
    rows = _chosen(base, split)
    pictures = _pictures(base, "test" if split == "benchmark" else split, rows)
    for row in rows:
        drawn = draw_sample([pictures[ref["row"]] for ref in row["images"]], marked_of(row))
        item = {
            "id": row["id"],
            "task": row["task"],
            "picture": {"bytes": jpeg(drawn), "path": f"{row['id']}.jpg"},
            "text": f"{row['question']}\n{row['answer']}",
        }
        yield pa.RecordBatch.from_pylist([item], schema=PREVIEW)


def marked_of(row: Mapping[str, Any]) -> list[Marked]:
    """Return what to draw for a row of `pairs`: objects, outlined where parts are marked too."""
    outlined = bool(row["parts"])
    objects = [Marked(o["image"], o["category"], _rle(o), outlined) for o in row["objects"]]
    return objects + [Marked(p["image"], p["name"], _rle(p)) for p in row["parts"]]


def _rle(region: Mapping[str, Any]) -> Rle:
    height, width = region["mask"]["size"]
    return Rle(height, width, region["mask"]["counts"].encode())


def jpeg(picture: Picture) -> bytes:
    """Encode an RGB picture as JPEG."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=88)
    return stream.getvalue()


def _chosen(base: Path, split: str) -> list[dict[str, Any]]:
    seen: dict[tuple[str, str], int] = {}
    rows = []
    for path in sorted((base / "pairs").glob(f"{split}-*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(1_000):
            cells = zip(
                batch.column("source").to_pylist(), batch.column("task").to_pylist(), strict=True
            )
            for at, cell in enumerate(cells):
                if seen.get(cell, 0) < A_CELL:
                    seen[cell] = seen.get(cell, 0) + 1
                    rows.append(batch.slice(at, 1).to_pylist()[0])
    return rows


def _pictures(base: Path, split: str, rows: list[dict[str, Any]]) -> dict[int, Picture]:
    wanted = {ref["row"] for row in rows for ref in row["images"]}
    pictures = {}
    for path in sorted((base / "images").glob(f"{split}-*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(100, columns=["row", "image"]):
            numbers = batch.column("row").to_pylist()
            for at, number in enumerate(numbers):
                if number in wanted:
                    pictures[number] = decode(batch.column("image")[at].as_py())
    return pictures


def decode(picture: Mapping[str, Any]) -> Picture:
    """Return a stored picture as (H, W, 3) uint8 RGB on the stored grid."""
    data = picture["bytes"]
    with Image.open(io.BytesIO(data) if data is not None else picture["path"]) as opened:
        return np.asarray(opened.convert("RGB"))
