"""The `preview` table: some samples with their masks drawn, for people and dataset viewers."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from mixedparts import masks
from mixedparts.errors import InputError
from mixedparts.images.opening import rgb_image
from mixedparts.masks import InvalidMask, Rle
from mixedparts.storage.schema import PREVIEW
from mixedparts.tables.image_files import ImageFile
from mixedparts.tables.overlay import PANEL_HEIGHT, ImageArray, Marked, draw_sample


def preview_batch(
    rows: Sequence[Mapping[str, Any]], image_files: Sequence[ImageFile]
) -> pa.RecordBatch:
    """Draw samples, and return them as rows of the schema `PREVIEW`.

    Args:
        rows: rows of `pairs`.
        image_files: files of their images, row by row.

    Raises:
        InputError: an image is no longer the one that was read.
    """
    drawn = []
    files = iter(image_files)
    for row in rows:
        images = [decode(next(files)) for _ in row["images"]]
        drawn.append(
            {
                "id": row["id"],
                "task": row["task"],
                "picture": {
                    "bytes": jpeg(draw_sample(images, marked_of(row))),
                    "path": f"{row['id']}.jpg",
                },
                "text": f"{row['question']}\n{row['answer']}",
            }
        )
    return pa.RecordBatch.from_pylist(drawn, schema=PREVIEW)


def marked_of(row: Mapping[str, Any]) -> list[Marked]:
    """Return what to draw for a row of `pairs`: objects, outlined where parts are marked too.

    Raises:
        InputError: a mask of the row does not decode.
    """
    # A filled object would hide the colours of its parts.
    outlined = bool(row["parts"])
    objects = [
        Marked(item["image"], item["category"], region_mask(row, item), outlined)
        for item in row["objects"]
    ]
    return objects + [
        Marked(item["image"], item["name"], region_mask(row, item)) for item in row["parts"]
    ]


def region_mask(row: Mapping[str, Any], region: Mapping[str, Any]) -> Rle:
    """Return the mask of an object or part of a row, checked: rows can come from anywhere.

    Raises:
        InputError: it does not decode.
    """
    height, width = region["mask"]["size"]
    try:
        return masks.from_string(region["mask"]["counts"], height, width)
    except InvalidMask as fault:
        label = region.get("category") or region.get("name")
        raise InputError(
            f"row {row['id']} of {row['split']}: the mask of '{label}' cannot be read: {fault}",
            "Check the build: mixedparts verify DIR --level deep",
        ) from fault


def jpeg(image: ImageArray) -> bytes:
    """Encode an `(H, W, 3)` uint8 RGB image as JPEG."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=88)
    return stream.getvalue()


def decode(file: ImageFile) -> ImageArray:
    """Return an image file as `(H, W, 3)` uint8 RGB on its stored grid, without EXIF rotation.

    A JPEG of more than twice a panel's height is decoded at half its size or less.

    Raises:
        InputError: the file is no longer the one that was read, or cannot be decoded.
    """
    # The decoder may skip detail that the panel cannot show, which takes a fraction of the time.
    return np.asarray(rgb_image(file.read(), str(file.path), least_height=PANEL_HEIGHT))
