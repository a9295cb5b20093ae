"""PACO's reader on real LVIS polygons and PACO's real categories."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from mixedparts import masks
from mixedparts.sources.manifests import load_manifest
from tests.factories.real_samples import LVIS, PACO_CATEGORIES, needs, paco_shaped, read_clean
from tests.oracles.coco_masks import dense


@needs(PACO_CATEGORIES, LVIS)
def test_lvis_polygons_with_paco_s_categories(tmp_path: Path) -> None:
    content = paco_shaped(tmp_path)
    names = {entry["id"]: entry["name"] for entry in content["categories"]}
    images = read_clean("paco", tmp_path, "test")
    assert len(images) == 100
    compared = 0
    for image in images.values():
        notes = [a for a in content["annotations"] if str(a["image_id"]) == image.image_id]
        objects = {item.id: item for item in image.objects}
        found = [(item.id, item.category, item.mask) for item in image.objects]
        found += [
            (part.id, f"{objects[part.object_id].category}:{part.name}", part.mask)
            for part in image.parts
        ]
        by_id = {note_id: (name, mask) for note_id, name, mask in found}
        assert len(by_id) == len(notes)
        for note in notes:
            name, mask = by_id[str(note["id"])]
            assert name == names[note["category_id"]]
            expected = dense(note["segmentation"], image.height, image.width)
            assert np.array_equal(masks.decode(mask), expected)
            compared += 1
    assert compared == len(content["annotations"]) > 2000


@needs(PACO_CATEGORIES)
def test_paco_s_real_categories_are_the_manifest_s() -> None:
    categories = json.loads(PACO_CATEGORIES.read_text(encoding="utf-8"))
    manifest = load_manifest("paco").objects
    objects = {c["name"]: c["id"] for c in categories if c["supercategory"] == "OBJECT"}
    parts = {c["name"]: c["id"] for c in categories if c["supercategory"] == "PART"}
    assert objects == {item.key: item.id for item in manifest.values()}
    assert parts == {
        f"{item.key}:{part.native}": part.id for item in manifest.values() for part in item.parts
    }
