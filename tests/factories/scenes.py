"""What the tiny native sources are made of: values, shapes and files, shared by their writers.

Every picture holds one to three objects side by side. An object is a rectangle with (in PACO) a
polygon outline; its parts are cells of a grid inside it, some left out by a rule, so that common
and unique parts both arise between pictures. Masks are made by raw pycocotools or numpy, so that
what is compared with them shares no code with them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

from mixedparts.sources.manifests import load_manifest

Dense = NDArray[np.uint8]
Box = tuple[int, int, int, int]
COUNTS: Mapping[str, int] = {"train": 5, "validation": 4, "test": 4}
SIZES = ((96, 64), (80, 72), (64, 96))
SHORT_NAMES = {"train": "train", "validation": "val", "test": "test"}


@dataclass(frozen=True, eq=False)
class NativePart:
    """A part as written: native name, upstream category id, (H, W) uint8 mask."""

    name: str
    category_id: int
    mask: Dense


@dataclass(frozen=True, eq=False)
class NativeObject:
    """An object as written: key of its class in the manifest, (H, W) uint8 mask, its parts."""

    category: str
    mask: Dense
    parts: tuple[NativePart, ...]


@dataclass(frozen=True, eq=False)
class NativeImage:
    """A picture as written; `split` is the file it is listed in (ADE: train or validation)."""

    split: str
    image_id: str
    file_name: str
    path: str
    width: int
    height: int
    objects: tuple[NativeObject, ...] = field(default=())


def polygon_mask(polygons: Sequence[Sequence[float]], width: int, height: int) -> Dense:
    """Rasterise polygons by raw pycocotools into one (H, W) uint8 mask."""
    rles = coco_mask.frPyObjects([list(polygon) for polygon in polygons], height, width)
    dense: Dense = coco_mask.decode(coco_mask.merge(rles))
    return dense


def encode(mask: Dense) -> dict[str, Any]:
    """Encode an (H, W) mask by raw pycocotools as a JSON-ready RLE dict."""
    rle = coco_mask.encode(np.asfortranarray(mask))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")}


def tight_box(mask: Dense) -> Box:
    """Return the (x, y, w, h) box of a non-empty mask."""
    rows, columns = np.nonzero(mask)
    x, y = int(columns.min()), int(rows.min())
    return x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y


def object_box(slot: int, slots: int, width: int, height: int) -> Box:
    cell = width // slots
    return slot * cell + 2, 6, cell - 6, height - 12


def filled(box: Box, width: int, height: int) -> Dense:
    x, y, w, h = box
    mask = np.zeros((height, width), np.uint8)
    mask[y : y + h, x : x + w] = 1
    return mask


def corners(box: Box) -> list[float]:
    x, y, w, h = (float(value) for value in box)
    return [x, y, x + w, y, x + w, y + h, x, y + h]


def outline(box: Box, two: bool) -> list[list[float]]:
    """Return a five-cornered outline in decimals, or an upper and a lower rectangle."""
    x, y, w, h = box
    if two:
        return [corners((x, y, w, h // 2 - 2)), corners((x, y + h // 2 + 1, w, h // 2 - 1))]
    return [[x + 0.5, y, x + w, y + 0.25, x + w, y + h, x + w / 2, y + h + 3.75, x, y + h]]


def grid_parts(
    source: str, key: str, box: Box, turn: int, width: int, height: int
) -> Iterator[NativePart]:
    """Yield the first six parts of a class as cells of a 2 x 3 grid, every fourth left out."""
    x, y, w, h = box
    for number, part in enumerate(load_manifest(source).objects[key].parts[:6]):
        if (number + turn) % 4 == 3:
            continue
        cell = (x + (number % 2) * (w // 2), y + (number // 2) * (h // 3), w // 2 - 1, h // 3 - 2)
        yield NativePart(part.native, part.id, filled(cell, width, height))


def write_picture(path: Path, width: int, height: int, tint: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    ramp = np.linspace(0, 255, width, dtype=np.uint8)
    rgb = np.stack([np.tile(ramp, (height, 1))] * 3, axis=2)
    rgb[:, :, 1] = (37 * tint) % 256
    Image.fromarray(rgb).save(path, format="JPEG", quality=85)


def write_png(path: Path, labels: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels).save(path, format="PNG")


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
