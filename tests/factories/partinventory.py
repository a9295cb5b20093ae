"""Writes a tiny source in the layout of PartInventory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mixedparts.sources.manifests import load_manifest
from tests.factories.partimagenet import PARTIMAGENET_SCENES
from tests.factories.scenes import (
    COUNTS,
    SHORT_NAMES,
    SIZES,
    NativeImage,
    NativeObject,
    NativePart,
    encode,
    grid_parts,
    object_box,
    write_json,
    write_picture,
)

INVENTORY_SCENES = (*PARTIMAGENET_SCENES, "n02480495")  # orangutan, Biped: arms and legs


def write_partinventory(root: Path, counts: Mapping[str, int] = COUNTS) -> list[NativeImage]:
    """Write `PartInventory/` under `root`: run lengths, ids 1..40, `val/` before file names.

    The first part of every picture is cut into two instances of one category.
    """
    written = []
    for split, count in counts.items():
        short = SHORT_NAMES[split]
        base = root / "PartInventory"
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for index in range(count):
            width, height = SIZES[index % len(SIZES)]
            synset = INVENTORY_SCENES[index % len(INVENTORY_SCENES)]
            name = f"{short}/{synset}_{100 * (1 + list(COUNTS).index(split)) + index}.JPEG"
            write_picture(base / "images" / name, width, height, index)
            images.append(
                {"id": index + 1, "file_name": name, "width": width, "height": height, "license": 0}
            )
            box = object_box(0, 1, width, height)
            parts = list(grid_parts("partinventory", synset, box, index, width, height))
            parts[:1] = _halves(parts[0])
            for number, part in enumerate(parts):
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": index + 1,
                        "category_id": part.category_id,
                        "segmentation": encode(part.mask),
                        "area": 0.97 * float(part.mask.sum()),
                        "bbox": [0.0, 0.0, 1.0, 1.0],
                        "iscrowd": 0,
                        "attributes": {"occluded": False},
                        "category_name": part.name,
                        "instance_id": number + 1,
                    }
                )
            whole = np.max([part.mask for part in parts], axis=0)
            written.append(
                NativeImage(
                    split,
                    Path(name).stem,
                    name,
                    f"PartInventory/images/{name}",
                    width,
                    height,
                    (NativeObject(synset, whole, tuple(parts)),),
                )
            )
        write_json(
            base / f"annotations/spin2_{short}_parts.json",
            {"images": images, "annotations": annotations, "categories": inventory_categories()},
        )
    return written


def _halves(part: NativePart) -> list[NativePart]:
    """Cut a part into a left and a right instance."""
    columns = np.flatnonzero(part.mask.any(axis=0))
    left, right = part.mask.copy(), part.mask.copy()
    left[:, columns[len(columns) // 2] :] = 0
    right[left > 0] = 0
    return [NativePart(part.name, part.category_id, mask) for mask in (left, right)]


def inventory_categories() -> list[dict[str, Any]]:
    """Return the 40 part categories with ids 1..40 and names such as `Biped Arm`."""
    found = {
        part.id: (item.superclass, part.native)
        for item in load_manifest("partinventory").objects.values()
        for part in item.parts
    }
    return [
        {"id": number, "name": f"{owner} {part}", "supercategory": owner}
        for number, (owner, part) in sorted(found.items())
    ]
