"""Real annotations that may lie beside the checkout, and a PACO file made of LVIS polygons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from mixedparts.records import ImageRecord
from mixedparts.sources.contract import get_source
from tests.builders.conformance import images_of, read_split, rejects_of
from tests.checkout import REAL_SAMPLES as SAMPLES
from tests.oracles.coco_masks import dense

SPIN = SAMPLES / "partimagenet_spin2"
PARTIMAGENET = SPIN / "DERIVED/partimagenet_native_mini"
FULL = SAMPLES / "ade20k_full/ADE20K_2021_17_01"
ADE = SAMPLES / "ade20k_full/DERIVED/ADE20KPart234_mini"
Content = dict[str, Any]


def needs(*paths: Path) -> pytest.MarkDecorator:
    """Skip a test where one of the paths is missing."""
    missing = [path.name for path in paths if not path.exists()]
    return pytest.mark.skipif(bool(missing), reason=f"no real sample {missing}")


def load(path: Path) -> Content:
    """Return the content of a JSON file."""
    content: Content = json.loads(path.read_text(encoding="utf-8"))
    return content


PACO_CATEGORIES = SAMPLES / "paco_meta/paco_lvis_v1_train_cat_info.json"
LVIS = SAMPLES / "lvis/lvis_val_100.json"


def paco_shaped(root: Path) -> Content:
    """Write a PACO file of real LVIS polygons, real categories, and halves of objects as parts."""
    lvis = load(LVIS)
    categories: list[Content] = json.loads(PACO_CATEGORIES.read_text(encoding="utf-8"))
    objects = [c for c in categories if c["supercategory"] == "OBJECT"]
    parts_of = {
        item["name"]: [c for c in categories if c["name"].startswith(item["name"] + ":")]
        for item in objects
    }
    images = [
        {key: entry[key] for key in ("id", "width", "height")}
        | {"file_name": f"val2017/{entry['id']:012d}.jpg"}
        for entry in lvis["images"]
    ]
    sizes = {entry["id"]: (entry["height"], entry["width"]) for entry in images}
    notes: list[Content] = []
    for number, source in enumerate(lvis["annotations"]):
        owner = objects[number % len(objects)]
        object_id = len(notes) + 1
        note = {key: source[key] for key in ("image_id", "segmentation", "area", "bbox")}
        notes.append(note | {"id": object_id, "category_id": owner["id"], "obj_ann_id": object_id})
        mask = dense(source["segmentation"], *sizes[source["image_id"]]).astype(np.uint8)
        rows = np.flatnonzero(mask.any(axis=1))
        for half, part in enumerate(parts_of[owner["name"]][:2]):
            cut, middle = mask.copy(), int(rows.mean())
            cut[middle:] *= half
            cut[:middle] *= 1 - half
            if cut.any():
                rle = coco_mask.encode(np.asfortranarray(cut))
                counts = {"size": list(rle["size"]), "counts": rle["counts"].decode()}
                head = {"id": len(notes) + 1, "image_id": source["image_id"]}
                notes.append(
                    note
                    | head
                    | {"category_id": part["id"], "obj_ann_id": object_id, "segmentation": counts}
                )
    for entry in images:
        path = root / "coco" / entry["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (entry["width"], entry["height"])).save(path)
    content = {"images": images, "annotations": notes, "categories": categories}
    path = root / "paco/annotations/paco_lvis_v1_test.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return content


def read_clean(name: str, root: Path, split: str) -> dict[str, ImageRecord]:
    """Read a split of a source of which nothing is refused; return its images by id."""
    outcomes = read_split(get_source(name), root, split)
    assert rejects_of(outcomes) == []
    return {image.image_id: image for image in images_of(outcomes)}
