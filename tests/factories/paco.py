"""Writes a tiny source in the layout of PACO-LVIS v1."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mixedparts.sources.manifests import load_manifest
from tests.factories.scenes import (
    COUNTS,
    SHORT_NAMES,
    SIZES,
    Dense,
    NativeImage,
    NativeObject,
    encode,
    grid_parts,
    object_box,
    outline,
    polygon_mask,
    tight_box,
    write_json,
    write_picture,
)

PACO_SCENES = (
    ("knife", "mug"),
    ("scissors", "cup"),
    ("chair", "stool", "dog"),
    ("knife", "scissors"),
    ("ball", "knife"),
)


def write_paco(root: Path, counts: Mapping[str, int] = COUNTS) -> list[NativeImage]:
    """Write `paco/annotations/*.json` and `coco/*2017/*.jpg` under `root`.

    Objects are polygon lists (every third with two polygons), parts are RLE dicts linked by
    `obj_ann_id`. Validation pictures lie in train2017 as upstream; test mixes both folders.
    """
    written = []
    for split, count in counts.items():
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for index in range(count):
            width, height = SIZES[index % len(SIZES)]
            image_id = 1000 * (1 + list(COUNTS).index(split)) + index
            folder = "val2017" if split == "test" and index % 2 else "train2017"
            name = f"{folder}/{image_id:012d}.jpg"
            write_picture(root / "coco" / name, width, height, image_id)
            images.append(
                {
                    "id": image_id,
                    "file_name": name,
                    "coco_url": f"http://images.cocodataset.org/{name}",
                    "width": width,
                    "height": height,
                    "license": 1,
                    "neg_category_ids": [],
                    "not_exhaustive_category_ids": [],
                }
            )
            objects = []
            scene = PACO_SCENES[index % len(PACO_SCENES)]
            for slot, key in enumerate(scene):
                box = object_box(slot, len(scene), width, height)
                polygons = outline(box, two=(index + slot) % 3 == 2)
                mask = polygon_mask(polygons, width, height)
                object_id = len(annotations) + 1
                head = {"id": object_id, "image_id": image_id, "obj_ann_id": object_id}
                category_id = load_manifest("paco").objects[key].id
                annotations.append(_paco_annotation(head, category_id, mask, polygons))
                parts = tuple(grid_parts("paco", key, box, index + slot, width, height))
                for part in parts:
                    head = {"id": len(annotations) + 1, "image_id": image_id}
                    head["obj_ann_id"] = object_id
                    rle = encode(part.mask)
                    annotations.append(_paco_annotation(head, part.category_id, part.mask, rle))
                objects.append(NativeObject(key, mask, parts))
            written.append(
                NativeImage(
                    split, str(image_id), name, f"coco/{name}", width, height, tuple(objects)
                )
            )
        short = SHORT_NAMES[split]
        write_json(
            root / f"paco/annotations/paco_lvis_v1_{short}.json",
            {"images": images, "annotations": annotations, "categories": paco_categories()},
        )
    return written


def paco_categories() -> list[dict[str, Any]]:
    """Return the 531 entries of PACO's categories block: 75 objects, then 456 object parts."""
    objects = load_manifest("paco").objects.values()
    entries: list[dict[str, Any]] = [
        {"supercategory": "OBJECT", "id": o.id, "name": o.key} for o in objects
    ]
    for item in objects:
        for part in item.parts:
            name = f"{item.key}:{part.native}"
            entries.append({"supercategory": "PART", "id": part.id, "name": name})
    return entries


def _paco_annotation(
    head: dict[str, int], category_id: int, mask: Dense, segmentation: Any
) -> dict[str, Any]:
    return head | {
        "category_id": category_id,
        "bbox": [float(value) for value in tight_box(mask)],
        "area": float(mask.sum()),
        "segmentation": segmentation,
        "attribute_ids": [],
        "dom_color_ids": [],
        "unknown_color": 0,
    }
