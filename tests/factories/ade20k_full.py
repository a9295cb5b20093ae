"""Writes a tiny source in the layout of the full ADE20K release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mixedparts.sources.manifests import load_manifest
from tests.factories.scenes import (
    SIZES,
    Dense,
    NativeImage,
    NativeObject,
    NativePart,
    corners,
    filled,
    grid_parts,
    object_box,
    tight_box,
    write_json,
    write_picture,
    write_png,
)

FULL_SCENES = (("car", "person"), ("bus", "car"), ("chair", "armchair", "stool"), ("person", "car"))
FOLDERS = {"train": "training", "val": "validation"}
BUILDING, RIM, WINDOW = 312, 2122, 3050
LATIN = "caf\xe9"


@dataclass
class _Drawn:
    """One record as it will stand in the JSON, with its visible and its occluded pixels."""

    name_ndx: int
    mask: Dense
    owner: int | None = None
    level: int = 0
    hidden: Dense | None = None


def write_ade20k_full(root: Path, train: int = 5, validation: int = 8) -> list[NativeImage]:
    """Write `ADE20K_2021_17_01/images/ADE` under `root`: JSON, instance PNGs and class maps.

    Every picture also has what the vocabulary leaves out: a building with a window, and a rim on
    the first part of the first object. The first part of the first object is two instances.
    """
    written = []
    for short, count in (("train", train), ("val", validation)):
        for index in range(count):
            width, height = SIZES[index % len(SIZES)]
            stem = f"ADE_{short}_{index + 1:08d}"
            scene = ("shopping/mall", "urban/street")[index % 2]
            folder = f"ADE20K_2021_17_01/images/ADE/{FOLDERS[short]}/{scene}"
            drawn, objects = _draw(FULL_SCENES[index % len(FULL_SCENES)], index, width, height)
            _write_image(root / folder, stem, drawn, width, height, index)
            written.append(
                NativeImage(
                    {"val": "validation"}.get(short, short),
                    stem,
                    f"{stem}.jpg",
                    f"{folder}/{stem}.jpg",
                    width,
                    height,
                    tuple(objects),
                )
            )
    return written


def _draw(
    scene: Sequence[str], turn: int, width: int, height: int
) -> tuple[list[_Drawn], list[NativeObject]]:
    building = _Drawn(BUILDING, filled((0, 0, width, 5), width, height))
    drawn = [building, _Drawn(WINDOW, filled((2, 1, 6, 3), width, height), 0, 1)]
    objects = []
    for slot, key in enumerate(scene):
        box = object_box(slot, len(scene), width, height)
        visible = filled(box, width, height)
        hidden = filled((box[0] + box[2], box[1], 2, box[3]), width, height)
        owner = len(drawn)
        drawn.append(_Drawn(load_manifest("ade20k_full").objects[key].id, visible, hidden=hidden))
        parts = list(grid_parts("ade20k_full", key, box, turn + slot, width, height))
        if slot == 0:
            parts[:1] = _halves(parts[0])
        for number, part in enumerate(parts):
            drawn.append(_Drawn(part.category_id, part.mask, owner, 1))
            if slot == number == 0:
                drawn.append(_Drawn(RIM, part.mask, len(drawn) - 1, 2))
        objects.append(NativeObject(key, visible, tuple(parts)))
    return drawn, objects


def _halves(part: NativePart) -> list[NativePart]:
    """Cut a part into an upper and a lower instance."""
    rows = np.flatnonzero(part.mask.any(axis=1))
    upper, lower = part.mask.copy(), part.mask.copy()
    upper[rows[len(rows) // 2] :] = 0
    lower[upper > 0] = 0
    return [NativePart(part.name, part.category_id, mask) for mask in (upper, lower)]


def _write_image(
    folder: Path, stem: str, drawn: Sequence[_Drawn], width: int, height: int, tint: int
) -> None:
    write_picture(folder / f"{stem}.jpg", width, height, tint)
    maps = {level: np.zeros((height, width, 3), np.uint8) for level in (0, 1, 2)}
    records = []
    for number, item in enumerate(drawn):
        values = np.where(item.mask > 0, 255, 0).astype(np.uint8)
        if item.hidden is not None:
            values[(item.hidden > 0) & (values == 0)] = 128
        write_png(folder / stem / f"instance_{number:03d}_{stem}.png", values)
        code = (item.name_ndx // 256 * 10, item.name_ndx % 256, number + 1)
        maps[item.level][item.mask > 0] = code
        records.append(_record(stem, number, item, drawn))
    write_png(folder / f"{stem}_seg.png", maps[0])
    for level in (1, 2):
        write_png(folder / f"{stem}_parts_{level}.png", maps[level])
    note = {
        "filename": f"{stem}.jpg",
        "folder": folder.as_posix().partition("ADE20K_2021")[1],
        "imsize": [height, width, 3],
        "source": {"origin": LATIN},
        "scene": [],
        "object": records,
    }
    write_json(folder / f"{stem}.json", {"annotation": note})


def _record(stem: str, number: int, item: _Drawn, drawn: Sequence[_Drawn]) -> dict[str, Any]:
    below = [i for i, other in enumerate(drawn) if other.owner == number]
    outline = corners(tight_box(item.mask if item.hidden is None else item.mask | item.hidden))
    return {
        "id": number,
        "name": "a name, or more",
        "name_ndx": item.name_ndx,
        "hypernym": [],
        "raw_name": "a name",
        "attributes": [],
        "depth_ordering_rank": number + 1,
        "occluded": [] if number % 2 else "no",
        "crop": "0",
        "parts": {
            "hasparts": below[0] if len(below) == 1 else below,
            "ispartof": [] if item.owner is None else item.owner,
            "part_level": item.level,
        },
        "instance_mask": f"{stem}/instance_{number:03d}_{stem}.png",
        "polygon": {"x": [int(n) for n in outline[::2]], "y": [int(n) for n in outline[1::2]]},
        "saved_date": "18-Dec-2005 06:56:48",
    }
