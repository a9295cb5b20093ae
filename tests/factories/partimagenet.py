"""Writes a tiny source in the layout of PartImageNet_Seg."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mixedparts.sources.manifests import load_manifest
from tests.factories.scenes import (
    COUNTS,
    SHORT_NAMES,
    SIZES,
    NativeImage,
    NativeObject,
    NativePart,
    corners,
    filled,
    grid_parts,
    object_box,
    polygon_mask,
    tight_box,
    write_json,
    write_picture,
    write_png,
)

PARTIMAGENET_SCENES = (
    "n01440764",  # tench, Fish
    "n02085782",  # Japanese spaniel, Quadruped
    "n02701002",  # ambulance, Car
    "n01443537",  # goldfish, Fish
    "n02835271",  # bicycle-built-for-two, Bicycle
)
PART_BACKGROUND, WHOLE_BACKGROUND = 40, 158


def write_partimagenet(
    root: Path, counts: Mapping[str, int] = COUNTS, whole: bool = True
) -> list[NativeImage]:
    """Write `PartImageNet/` under `root`: flat pictures, polygons of parts, label PNGs.

    With `whole` the object is the `{split}_whole` PNG (a rectangle around the parts); without it
    no whole PNG is written and the object is the union of its parts.
    """
    written = []
    for split, count in counts.items():
        short = SHORT_NAMES[split]
        base = root / "PartImageNet"
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for index in range(count):
            width, height = SIZES[index % len(SIZES)]
            synset = PARTIMAGENET_SCENES[index % len(PARTIMAGENET_SCENES)]
            stem = f"{synset}_{100 * (1 + list(COUNTS).index(split)) + index}"
            image_id = index + 1
            write_picture(base / "images" / short / f"{stem}.JPEG", width, height, index)
            images.append(
                {"id": image_id, "file_name": f"{stem}.JPEG", "width": width, "height": height}
            )
            box = object_box(0, 1, width, height)
            parts, labels = [], np.full((height, width), PART_BACKGROUND, np.uint8)
            for part in grid_parts("partimagenet", synset, box, index, width, height):
                polygons = [corners(tight_box(part.mask))]
                mask = polygon_mask(polygons, width, height)
                parts.append(NativePart(part.name, part.category_id, mask))
                labels[mask > 0] = part.category_id
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image_id,
                        "category_id": part.category_id,
                        "bbox": list(tight_box(mask)),
                        "area": int(mask.sum()),
                        "segmentation": polygons,
                        "iscrowd": 0,
                    }
                )
            notes = base / "annotations" / short
            write_png(notes / f"{stem}.png", labels)
            write_json(notes / f"{stem}.json", {"imgHeight": height, "imgWidth": width})
            if whole:
                mask = filled(box, width, height)
                number = load_manifest("partimagenet").objects[synset].id
                label = np.where(mask > 0, number, WHOLE_BACKGROUND).astype(np.uint8)
                write_png(base / "annotations" / f"{short}_whole" / f"{stem}.png", label)
            else:
                mask = np.max([part.mask for part in parts], axis=0)
            written.append(
                NativeImage(
                    split,
                    stem,
                    f"{stem}.JPEG",
                    f"PartImageNet/images/{short}/{stem}.JPEG",
                    width,
                    height,
                    (NativeObject(synset, mask, tuple(parts)),),
                )
            )
        write_json(
            base / "annotations" / short / f"{short}.json",
            {
                "images": images,
                "annotations": annotations,
                "categories": partimagenet_categories(),
            },
        )
    return written


def partimagenet_categories() -> list[dict[str, Any]]:
    """Return the 40 part categories with ids 0..39 and names such as `Quadruped Head`."""
    found = {
        part.id: (item.superclass, part.native)
        for item in load_manifest("partimagenet").objects.values()
        for part in item.parts
    }
    return [
        {"id": number, "name": f"{owner} {part}", "supercategory": owner}
        for number, (owner, part) in sorted(found.items())
    ]
