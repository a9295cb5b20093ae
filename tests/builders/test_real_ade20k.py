"""The readers of ADE20K on real annotations, against raw pycocotools and OpenCV."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from mixedparts import masks
from mixedparts.records import Reason
from mixedparts.sources.contract import get_source
from mixedparts.sources.manifests import load_manifest
from tests.builders.conformance import images_of, read_split, rejects_of
from tests.checkout import REAL_SAMPLES as SAMPLES
from tests.factories.real_samples import ADE, FULL, load, needs, read_clean
from tests.oracles.coco_masks import dense


@needs(ADE)
def test_ade20k_mini(tmp_path: Path) -> None:
    (tmp_path / "ADE20KPart234").symlink_to(ADE)
    content = load(ADE / "ade20k_instance_train.json")
    classes = {entry["id"]: entry["name"] for entry in content["categories"]}
    manifest = load_manifest("ade20k").objects
    images = read_clean("ade20k", tmp_path, "train")
    assert list(images) == [entry["id"] for entry in content["images"]]
    for image in images.values():
        png = ADE / f"annotations_detectron2_part/training/{image.image_id}.png"
        labels = cv2.imread(str(png), cv2.IMREAD_UNCHANGED)
        notes = [a for a in content["annotations"] if a["image_id"] == image.image_id]
        assert [item.id for item in image.objects] == [str(note["id"]) for note in notes]
        for item, note in zip(image.objects, notes, strict=True):
            mask = dense(note["segmentation"], image.height, image.width)
            assert item.category == classes[note["category_id"]]
            assert np.array_equal(masks.decode(item.mask), mask)
            ids = {part.native: part.id for part in manifest[item.category].parts}
            parts = [part for part in image.parts if part.object_id == item.id]
            assert sorted(ids[part.name] for part in parts) == note["part_category_id"]
            for part in parts:
                expected = (labels == ids[part.name]) & (mask > 0)
                assert np.array_equal(masks.decode(part.mask) > 0, expected)


@needs(FULL)
def test_full_ade20k(tmp_path: Path) -> None:
    """Every record of the 44 classes and 234 parts, its visible pixels and its true owner."""
    (tmp_path / "ADE20K_2021_17_01").symlink_to(FULL)
    mapping = load(SAMPLES / "ade20k_full/ade20kpart234_mapping.json")

    def ids(value: int | list[int]) -> list[int]:
        return value if isinstance(value, list) else [value]

    classes = {number: entry for entry in mapping.values() for number in ids(entry["id"])}
    outcomes = read_split(get_source("ade20k_full"), tmp_path, "train")
    assert {r.reason for r in rejects_of(outcomes)} == {Reason.OUTSIDE_VOCABULARY}
    images = images_of(outcomes)
    assert [len(image.objects) for image in images] == [30, 16]
    assert [len(image.parts) for image in images] == [9, 3]
    told = 0
    for image in images:
        path = tmp_path / Path(image.path).with_suffix(".json")
        records = {str(o["id"]): o for o in load(path)["annotation"]["object"]}
        for item in (*image.objects, *image.parts):
            png = path.parent / records[item.id]["instance_mask"]
            expected = cv2.imread(str(png), cv2.IMREAD_UNCHANGED) == 255
            assert np.array_equal(masks.decode(item.mask) > 0, expected)
        wanted = {i for i, o in records.items() if not ids(o["parts"]["ispartof"])}
        wanted = {i for i in wanted if records[i]["name_ndx"] in classes}
        assert {item.id for item in image.objects} == wanted
        for part in image.parts:
            above = records[part.id]["parts"]["ispartof"]
            while ids(records[str(above)]["parts"]["ispartof"]):
                above = records[str(above)]["parts"]["ispartof"]
            assert part.object_id == str(above)
            names = classes[records[part.object_id]["name_ndx"]]["parts"]
            assert records[part.id]["name_ndx"] in ids(names[part.name])
        told += len(records) - len(image.objects) - len(image.parts)
    assert told == len(rejects_of(outcomes)) == 49
