"""What the written files say is exactly what was painted, in each native format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from mixedparts.sources.manifests import load_manifest
from mixedparts.synthetic.render import Rendered
from tests.checkout import REAL_SAMPLES
from tests.factories.synthetic import IMAGES
from tests.oracles.coco_masks import dense
from tests.oracles.painted import painted

ANNOTATIONS = {
    "paco": [f"paco/annotations/paco_lvis_v1_{split}.json" for split in ("train", "val", "test")],
    "partimagenet": [
        f"PartImageNet/annotations/{split}/{split}.json" for split in ("train", "val", "test")
    ],
    "ade20k": [f"ADE20KPart234/ade20k_instance_{split}.json" for split in ("train", "val")],
}
TAXONOMIES = REAL_SAMPLES / "taxonomies"


def read(synthetic_root: Path, source: str) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Return (image, its annotations) of all splits, in the order of the image index."""
    found = []
    for file in ANNOTATIONS[source]:
        content = json.loads((synthetic_root / file).read_bytes())
        for image in content["images"]:
            own = [item for item in content["annotations"] if item["image_id"] == image["id"]]
            found.append((image, own))
    number = {"paco": "id", "partimagenet": "id", "ade20k": "file_name"}[source]
    return sorted(found, key=lambda pair: str(pair[0][number]).zfill(12)[-12:])


def test_paco_masks_are_the_painted_pixels(
    synthetic_root: Path, rendered: dict[str, list[Rendered]]
) -> None:
    names = {item.id: item for item in load_manifest("paco").objects.values()}
    for index, (image, own) in enumerate(read(synthetic_root, "paco")):
        truth = painted(rendered["paco"][index])
        objects = [item for item in own if item["category_id"] in names]
        assert len(objects) == len(truth)
        for item, (key, whole, parts) in zip(objects, truth, strict=True):
            assert item["obj_ann_id"] == item["id"]
            assert isinstance(item["segmentation"], list)
            assert names[item["category_id"]].key == key
            np.testing.assert_array_equal(dense(item["segmentation"], *whole.shape), whole)
            assert item["area"] == whole.sum()
            native = {part.id: part.native for part in names[item["category_id"]].parts}
            mine = [
                part
                for part in own
                if part["obj_ann_id"] == item["id"] and part["id"] != item["id"]
            ]
            assert {native[part["category_id"]] for part in mine} == set(parts)
            assert len(mine) == len(parts)
            for part in mine:
                assert isinstance(part["segmentation"]["counts"], str)
                mask = dense(part["segmentation"], *whole.shape)
                np.testing.assert_array_equal(mask, parts[native[part["category_id"]]])
        assert Image.open(synthetic_root / "coco" / image["file_name"]).size == (
            image["width"],
            image["height"],
        )


def test_partimagenet_polygons_and_maps_are_the_painted_pixels(
    synthetic_root: Path, rendered: dict[str, list[Rendered]]
) -> None:
    root = synthetic_root / "PartImageNet"
    manifest = load_manifest("partimagenet")
    for index, (image, own) in enumerate(read(synthetic_root, "partimagenet")):
        truth = painted(rendered["partimagenet"][index])
        stem = Path(image["file_name"]).stem
        (split,) = [p.parent.name for p in (root / "images").glob(f"*/{image['file_name']}")]
        item_class = manifest.objects[stem[:9]]
        assert {key for key, _, _ in truth} == {stem[:9]}
        names = {part.id: part.native for part in item_class.parts}
        expected = [(name, mask) for _, _, parts in truth for name, mask in parts.items()]
        shape = truth[0][1].shape
        written = [
            (names[item["category_id"]], dense(item["segmentation"], *shape)) for item in own
        ]
        assert [name for name, _ in written] == [name for name, _ in expected]
        for (_, mask), (_, true) in zip(written, expected, strict=True):
            np.testing.assert_array_equal(mask, true)
        part_map = cv2.imread(str(root / f"annotations/{split}/{stem}.png"), cv2.IMREAD_UNCHANGED)
        whole_map = cv2.imread(
            str(root / f"annotations/{split}_whole/{stem}.png"), cv2.IMREAD_UNCHANGED
        )
        assert part_map is not None
        assert whole_map is not None
        assert part_map.dtype == whole_map.dtype == np.uint8
        union = np.any([whole for _, whole, _ in truth], axis=0)
        np.testing.assert_array_equal(part_map != 40, union)
        np.testing.assert_array_equal(whole_map, np.where(union, item_class.id, 158))
        for number, name in names.items():
            masks = [mask for part, mask in expected if part == name]
            own_pixels = np.any(masks, axis=0) if masks else np.zeros(shape, bool)
            np.testing.assert_array_equal(part_map == number, own_pixels)
        size = json.loads((root / f"annotations/{split}/{stem}.json").read_bytes())
        assert size == {"imgHeight": shape[0], "imgWidth": shape[1]}


def test_ade20k_rle_and_part_map_are_the_painted_pixels(
    synthetic_root: Path, rendered: dict[str, list[Rendered]]
) -> None:
    root = synthetic_root / "ADE20KPart234"
    names = {item.id: item for item in load_manifest("ade20k").objects.values()}
    folders = {"ADE_train": "training", "ADE_val_0": "validation"}
    for index, (image, own) in enumerate(read(synthetic_root, "ade20k")):
        truth = painted(rendered["ade20k"][index])
        folder = folders[image["id"][:9]]
        path = root / "annotations_detectron2_part" / folder / f"{image['id']}.png"
        part_map = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert part_map is not None
        assert part_map.dtype == np.uint16
        expected = np.full(part_map.shape, 65535, np.uint16)
        assert len(own) == len(truth)
        for item, (key, whole, parts) in zip(own, truth, strict=True):
            assert names[item["category_id"]].key == key
            np.testing.assert_array_equal(dense(item["segmentation"], *whole.shape), whole)
            numbers = {part.native: part.id for part in names[item["category_id"]].parts}
            assert item["part_category_id"] == sorted(numbers[name] for name in parts)
            for name, mask in parts.items():
                expected[mask] = numbers[name]
        np.testing.assert_array_equal(part_map, expected)
        with Image.open(root / "images" / folder / image["file_name"]) as picture:
            assert picture.size == part_map.shape[::-1]


@pytest.mark.parametrize("source", sorted(ANNOTATIONS))
def test_files_open_with_pycocotools_and_say_synthetic(synthetic_root: Path, source: str) -> None:
    seen = 0
    for file in ANNOTATIONS[source]:
        api = COCO(str(synthetic_root / file))
        assert "synthetic" in api.dataset["info"]["description"].lower()
        numbers = [item["id"] for item in api.dataset["annotations"]]
        assert len(numbers) == len(set(numbers))
        assert all(item["image_id"] in api.imgs for item in api.dataset["annotations"])
        assert all(item["category_id"] in api.cats for item in api.dataset["annotations"])
        if source == "ade20k":
            assert all(isinstance(number, str) for number in api.imgs)
        seen += len(api.imgs)
    assert seen == IMAGES
    root = synthetic_root / ANNOTATIONS[source][0].split("/")[0]
    assert "synthetic" in (root / "SYNTHETIC.md").read_text().lower()


def test_paco_splits_are_not_coco_splits(synthetic_root: Path) -> None:
    folders = {}
    for file in ANNOTATIONS["paco"]:
        images = json.loads((synthetic_root / file).read_bytes())["images"]
        folders[file] = {image["file_name"].split("/")[0] for image in images}
    train, val, test = ANNOTATIONS["paco"]
    assert folders[train] == folders[val] == {"train2017"}
    assert folders[test] == {"train2017", "val2017"}


@pytest.mark.skipif(not TAXONOMIES.is_dir(), reason="no real samples beside the checkout")
def test_categories_are_the_real_ones(synthetic_root: Path) -> None:
    def block(source: str, key: str = "categories") -> list[dict[str, Any]]:
        content: dict[str, Any] = json.loads((synthetic_root / ANNOTATIONS[source][0]).read_bytes())
        found: list[dict[str, Any]] = content[key]
        return found

    def real(name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((TAXONOMIES / name).read_bytes())
        return content

    paco = real("paco_lvis_v1.json")
    keys = ("id", "name", "supercategory", "synset")
    assert [[item[key] for key in keys] for item in block("paco")] == [
        [item[key] for key in keys]
        for item in sorted(paco["raw_categories_block"], key=lambda item: int(item["id"]))
    ]
    assert block("paco", "part_categories") == [
        {key: item[key] for key in ("supercategory", "id", "name")}
        for item in paco["part_categories"]
    ]
    assert block("partimagenet") == [
        {key: item[key] for key in ("id", "name", "supercategory")}
        for item in real("partimagenet.json")["part_categories"]
    ]
    assert block("ade20k") == [
        {key: item[key] for key in ("id", "name")}
        for item in real("ade20k_part_234.json")["objects"]
    ]
