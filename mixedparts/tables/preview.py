"""The `preview` table: some samples with their masks drawn in, for people and dataset viewers."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from mixedparts.masks import Rle
from mixedparts.storage.schema import PREVIEW
from mixedparts.tables.overlay import PANEL_HEIGHT, Marked, Picture, draw_sample


def preview_batch(rows: Sequence[Mapping[str, Any]], pictures: Sequence[Path]) -> pa.RecordBatch:
    """Draw samples.

    Args:
        rows: of `pairs`.
        pictures: files of their images, row by row, as the sources have them.
    """
    drawn = []
    files = iter(pictures)
    for row in rows:
        paths = [next(files) for _ in row["images"]]
        drawn.append(
            {
                "id": row["id"],
                "task": row["task"],
                "picture": {
                    "bytes": jpeg(draw_sample([decode(path) for path in paths], marked_of(row))),
                    "path": f"{row['id']}.jpg",
                },
                "text": f"{row['question']}\n{row['answer']}",
            }
        )
    return pa.RecordBatch.from_pylist(drawn, schema=PREVIEW)


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


def decode(path: Path) -> Picture:
    """Return a picture file as (h, w, 3) uint8 RGB, upright as stored.

    A JPEG of more than twice a panel's height is decoded at half its size or less.
    """
    with Image.open(path) as opened:
        scale = PANEL_HEIGHT / opened.height
        if scale < 1:
            opened.draft("RGB", (round(opened.width * scale), PANEL_HEIGHT))
        return np.asarray(opened.convert("RGB"))
