"""What is PartInventory's own: part instances, ids from 1, and the habits of its working copies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders.partinventory import PartInventorySource
from mixedparts import masks
from mixedparts.masks import Rle
from mixedparts.records import ImageRecord, Level, Reason
from mixedparts.sources.manifests import load_manifest
from tests.builders.conformance import (
    SourceConformance,
    images_of,
    read_split,
    rejects_of,
)
from tests.factories.faults import edit_json
from tests.factories.partinventory import write_partinventory
from tests.factories.scenes import NativeImage

TRAIN = "PartInventory/annotations/spin2_train_parts.json"
Refused = list[tuple[str, Level, Reason]]


class TestPartInventoryConformance(SourceConformance):
    name = "partinventory"
    level = Level.PART

    def write(self, root: Path) -> dict[str, tuple[int, int]]:
        write_partinventory(root)

        def break_some(content: dict[str, Any]) -> None:
            content["annotations"][0]["segmentation"]["counts"] = "broken"
            content["annotations"][1].update(id=[2], area=[[3]])
            content["annotations"].append({"id": 900, "image_id": 1})
            content["images"] += [None, content["images"][0]]

        edit_json(root / TRAIN, break_some)
        found = {}
        for split, short in (("train", "train"), ("validation", "val"), ("test", "test")):
            file = root / f"PartInventory/annotations/spin2_{short}_parts.json"
            content = json.loads(file.read_text())
            found[split] = (len(content["images"]), len(content["annotations"]))
        return found


@pytest.fixture
def written(tmp_path: Path) -> list[NativeImage]:
    return write_partinventory(tmp_path, {"train": 6})


def read_train(root: Path) -> tuple[list[ImageRecord], Refused]:
    outcomes = read_split(PartInventorySource(), root, "train")
    refused = [(r.record_id, r.level, r.reason) for r in rejects_of(outcomes)]
    return images_of(outcomes), refused


def named_masks(images: list[ImageRecord]) -> list[list[tuple[str, Rle]]]:
    return [[(part.name, part.mask) for part in image.parts] for image in images]


def test_every_instance_is_a_part_of_its_own(tmp_path: Path, written: list[NativeImage]) -> None:
    images, refused = read_train(tmp_path)
    assert refused == []
    assert [image.path for image in images] == [native.path for native in written]
    for image, native in zip(images, written, strict=True):
        (item,), (wanted,) = image.objects, native.objects
        assert item.category == wanted.category
        assert np.array_equal(masks.decode(item.mask), wanted.mask)
        assert [part.name for part in image.parts] == [part.name for part in wanted.parts]
        assert image.parts[0].name == image.parts[1].name
        for part, expected in zip(image.parts, wanted.parts, strict=True):
            assert np.array_equal(masks.decode(part.mask), expected.mask)


def test_a_biped_has_arms_and_legs_and_a_car_has_tires(tmp_path: Path) -> None:
    write_partinventory(tmp_path, {"train": 12})
    images, _ = read_train(tmp_path)
    found = {(image.objects[0].category, part.name) for image in images for part in image.parts}
    assert {("n02480495", "Arm"), ("n02480495", "Leg"), ("n02701002", "Tire")} <= found


def test_a_working_copy_counts_from_zero_and_writes_bare_names(
    tmp_path: Path, written: list[NativeImage]
) -> None:
    before, _ = read_train(tmp_path)

    def as_working_copy(content: dict[str, Any]) -> None:
        for image in content["images"]:
            image["id"] -= 1
            image["file_name"] = Path(image["file_name"]).stem
        for category in content["categories"]:
            category["id"] -= 1
        for note in content["annotations"]:
            note["category_id"] -= 1
            note["image_id"] -= 1
            del note["instance_id"], note["attributes"]
            note["category_name"] = "BicycleBody"
            note["result"] = None

    edit_json(tmp_path / TRAIN, as_working_copy)
    images, refused = read_train(tmp_path)
    assert refused == []
    assert [image.path for image in images] == [image.path for image in before]
    assert named_masks(images) == named_masks(before)


def test_lists_where_scalars_belong_are_rejects(tmp_path: Path, written: list[NativeImage]) -> None:
    """The working copy of the test file has 72 such records."""
    before, _ = read_train(tmp_path)

    def as_lists(content: dict[str, Any]) -> None:
        note = content["annotations"][-1]
        note.update(area=[5.0], bbox=[[0, 0, 1, 1]], iscrowd=[0])
        note["segmentation"] = [[[1.0, 1.0, 30.0, 1.0, 30.0, 30.0]]]

    edit_json(tmp_path / TRAIN, as_lists)
    last = str(json.loads((tmp_path / TRAIN).read_text())["annotations"][-1]["id"])
    images, refused = read_train(tmp_path)
    assert refused == [
        (last, Level.POLYGON, Reason.INVALID_POLYGON),
        (last, Level.PART, Reason.MISSING_MASK),
    ]
    assert images[:-1] == before[:-1]
    assert len(images[-1].parts) == len(before[-1].parts) - 1


def test_pictures_of_partimagenet_serve_from_any_split(
    tmp_path: Path, written: list[NativeImage]
) -> None:
    before, _ = read_train(tmp_path)
    shutil.move(tmp_path / "PartInventory/images/train", tmp_path / "pictures")
    (tmp_path / "PartInventory/images").rmdir()
    for short in ("train", "val"):
        (tmp_path / "PartImageNet/images" / short).mkdir(parents=True)
    for number, path in enumerate(sorted((tmp_path / "pictures").iterdir())):
        shutil.move(path, tmp_path / "PartImageNet/images" / ("train", "val")[number % 2])
    source = PartInventorySource()
    assert source.required_files(tmp_path, "train") == (TRAIN, "PartImageNet/images")
    images, refused = read_train(tmp_path)
    assert refused == []
    assert {image.path.split("/")[2] for image in images} == {"train", "val"}
    assert [image.objects for image in images] == [image.objects for image in before]


def test_classes_and_names_are_partimagenet_s() -> None:
    own, other = load_manifest("partinventory"), load_manifest("partimagenet")
    assert {k: (o.name, o.superclass) for k, o in own.objects.items()} == {
        k: (o.name, o.superclass) for k, o in other.objects.items()
    }
    assert [g.classes for g in own.groups] == [g.classes for g in other.groups]
    assert sorted({p.id for o in own.objects.values() for p in o.parts}) == list(range(1, 41))
