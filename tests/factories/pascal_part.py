"""Writes a tiny source in the layout of PASCAL-Part and VOC 2010; needs SciPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.factories.scenes import (
    SIZES,
    NativeImage,
    NativeObject,
    NativePart,
    filled,
    grid_parts,
    object_box,
    write_picture,
)

PASCAL_SCENES = (("aeroplane",), ("dog", "person"), ("train", "sofa"), ("cow", "horse", "table"))
COUNTED = {"engine", "wheel", "headlight", "window", "door", "coach"}
NOTES = "PascalPart/Annotations_Part"
LISTS = "VOCdevkit/VOC2010/ImageSets/Main"
PICTURES = "VOCdevkit/VOC2010/JPEGImages"


def write_pascal_part(root: Path, counts: Mapping[str, int]) -> list[NativeImage]:
    """Write `PascalPart/` and `VOCdevkit/` under `root`; counts by list, `train` and `val`.

    Parts that upstream numbers (`engine_1`) are written as two halves with numbers.
    """
    written = []
    for short, count in counts.items():
        names = []
        for index in range(count):
            width, height = SIZES[index % len(SIZES)]
            name = f"20{8 if short == 'train' else 9:02d}_{index + 1:06d}"
            names.append(name)
            write_picture(root / PICTURES / f"{name}.jpg", width, height, index)
            scene = PASCAL_SCENES[index % len(PASCAL_SCENES)]
            objects = []
            for slot, key in enumerate(scene):
                box = object_box(slot, len(scene), width, height)
                parts = [
                    piece
                    for part in grid_parts("pascal_part", key, box, index + slot, width, height)
                    for piece in (_halves(part) if part.name in COUNTED else (part,))
                ]
                objects.append(NativeObject(key, filled(box, width, height), tuple(parts)))
            write_mat(root / NOTES / f"{name}.mat", name, [entry(item) for item in objects])
            written.append(
                NativeImage(
                    {"val": "validation"}.get(short, short),
                    name,
                    f"{name}.jpg",
                    f"{PICTURES}/{name}.jpg",
                    width,
                    height,
                    tuple(objects),
                )
            )
        path = root / LISTS / f"{short}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return written


def entry(item: NativeObject) -> dict[str, Any]:
    """Return an object as its fields in the file."""
    parts, seen = [], dict.fromkeys(COUNTED, 0)
    for part in item.parts:
        name = part.name
        if name in COUNTED:
            seen[name] += 1
            name = f"{name}_{seen[name]}"
        parts.append({"part_name": name, "mask": part.mask})
    return {"class": item.category, "class_ind": 1, "mask": item.mask, "parts": parts}


def write_mat(path: Path, name: str, objects: Sequence[dict[str, Any]]) -> None:
    """Write `anno` as MATLAB does: structure arrays of one row."""
    from scipy.io import savemat

    rows = [item | {"parts": structures(item["parts"])} for item in objects]
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"anno": {"imname": name, "objects": structures(rows)}}, do_compression=True)


def structures(items: Sequence[dict[str, Any]]) -> NDArray[Any]:
    """Return a (1, n) structure array; an empty matrix where there is none."""
    if not items:
        return np.zeros((0, 0))
    fields = list(dict.fromkeys(key for item in items for key in item))
    table = np.zeros((1, len(items)), dtype=[(key, object) for key in fields])
    for number, item in enumerate(items):
        for key in fields:
            table[key][0, number] = item.get(key, np.zeros((0, 0)))
    return table


def _halves(part: NativePart) -> list[NativePart]:
    """Cut a part into a left and a right instance."""
    columns = np.flatnonzero(part.mask.any(axis=0))
    left, right = part.mask.copy(), part.mask.copy()
    left[:, columns[len(columns) // 2] :] = 0
    right[left > 0] = 0
    return [NativePart(part.name, part.category_id, mask) for mask in (left, right)]
