"""Writes a tiny source in the layout of ADE20K-Part-234."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mixedparts.sources.manifests import load_manifest
from tests.factories.scenes import (
    SIZES,
    NativeImage,
    NativeObject,
    NativePart,
    encode,
    filled,
    grid_parts,
    object_box,
    tight_box,
    write_json,
    write_picture,
    write_png,
)

ADE_SCENES = (
    ("car", "person"),
    ("bus", "car"),
    ("chair", "armchair", "stool"),
    ("person", "chair"),
)
FOLDERS = {"train": "training", "val": "validation"}
UNLABELLED = 65535


def write_ade20k(root: Path, train: int = 5, validation: int = 8) -> list[NativeImage]:
    """Write `ADE20KPart234/` under `root`: object RLE in JSON, 16-bit part PNGs, string image ids.

    Objects of one picture overlap by some pixels, and the part PNG also holds part pixels outside
    every object, which belong to no one.
    """
    written = []
    base = root / "ADE20KPart234"
    for short, count in (("train", train), ("val", validation)):
        folder = FOLDERS[short]
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for index in range(count):
            width, height = SIZES[index % len(SIZES)]
            stem = f"ADE_{short}_{index + 1:08d}"
            write_picture(base / "images" / folder / f"{stem}.jpg", width, height, index)
            images.append(
                {"id": stem, "file_name": f"{stem}.jpg", "width": width, "height": height}
            )
            scene = ADE_SCENES[index % len(ADE_SCENES)]
            boxes = [object_box(slot, len(scene), width, height) for slot in range(len(scene))]
            labels = np.full((height, width), UNLABELLED, np.uint16)
            for slot, (key, box) in enumerate(zip(scene, boxes, strict=True)):
                for part in grid_parts("ade20k", key, box, index + slot, width, height):
                    labels[part.mask > 0] = part.category_id
            person = load_manifest("ade20k").objects["person"].parts[0]
            labels[:2, :] = person.id  # "arm" above every object: part pixels of no object
            objects = []
            for key, (x, y, w, h) in zip(scene, boxes, strict=True):
                mask = filled((x, y, w + 3, h), width, height)  # reaches into its neighbour
                wanted = load_manifest("ade20k").objects[key].parts
                parts = tuple(
                    NativePart(p.native, p.id, ((labels == p.id) & (mask > 0)).astype(np.uint8))
                    for p in wanted
                    if ((labels == p.id) & (mask > 0)).any()
                )
                objects.append(NativeObject(key, mask, parts))
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": stem,
                        "category_id": load_manifest("ade20k").objects[key].id,
                        "segmentation": encode(mask),
                        "bbox": list(tight_box(mask)),
                        "iscrowd": 0,
                        "part_category_id": [part.category_id for part in parts],
                    }
                )
            write_png(base / "annotations_detectron2_part" / folder / f"{stem}.png", labels)
            written.append(
                NativeImage(
                    {"val": "validation"}.get(short, short),
                    stem,
                    f"{stem}.jpg",
                    f"ADE20KPart234/images/{folder}/{stem}.jpg",
                    width,
                    height,
                    tuple(objects),
                )
            )
        write_json(
            base / f"ade20k_instance_{short}.json",
            {"images": images, "annotations": annotations, "categories": ade_categories()},
        )
    return written


def ade_categories() -> list[dict[str, Any]]:
    """Return the 44 object categories with ids 0..43."""
    objects = load_manifest("ade20k").objects.values()
    return [{"id": item.id, "name": item.key} for item in sorted(objects, key=lambda o: o.id)]
