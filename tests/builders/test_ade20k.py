"""What is ADE20K-Part-234's own: part maps, string ids, and one file for two splits."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from builders.ade20k import Ade20kPartSource
from mixedparts import masks
from mixedparts.records import ImageRecord, Level, Reason
from tests.builders.conformance import (
    SourceConformance,
    accounted,
    images_of,
    read_split,
    rejects_of,
)
from tests.factories.ade20k import write_ade20k
from tests.factories.faults import edit_json
from tests.factories.scenes import NativeImage

BASE = "ADE20KPart234"
TRAIN, VAL = f"{BASE}/ade20k_instance_train.json", f"{BASE}/ade20k_instance_val.json"
Refused = list[tuple[str, Level, Reason]]


class TestAde20kConformance(SourceConformance):
    name = "ade20k"
    level = Level.OBJECT
    sharing = (("train",), ("validation", "test"))

    def write(self, root: Path) -> dict[str, tuple[int, int]]:
        write_ade20k(root)
        found = {}

        def break_some(content: dict[str, Any]) -> None:
            content["annotations"][0]["segmentation"]["counts"] = "broken"
            content["annotations"].append({"id": 900, "image_id": "ADE_val_9"})
            content["images"].append(None)
            content["images"].append(content["images"][1] | {"width": 5})
            content["images"][2]["height"] = "tall"
            content["images"][3]["file_name"] = "ADE_val_0.jpg"

        for split, file in (("train", TRAIN), ("validation", VAL)):
            if split == "validation":
                edit_json(root / file, break_some)
            content = json.loads((root / file).read_text())
            found[split] = (len(content["images"]), len(content["annotations"]))
        return found


@pytest.fixture
def written(tmp_path: Path) -> list[NativeImage]:
    return write_ade20k(tmp_path, 3, 0)


def read_train(root: Path) -> tuple[list[ImageRecord], Refused]:
    outcomes = read_split(Ade20kPartSource(), root, "train")
    refused = [(r.record_id, r.level, r.reason) for r in rejects_of(outcomes)]
    return images_of(outcomes), refused


def part_map(root: Path, image: NativeImage) -> Path:
    return root / f"{BASE}/annotations_detectron2_part/training/{image.image_id}.png"


def test_masks_and_names_are_those_written(tmp_path: Path) -> None:
    expected = {image.image_id: image for image in write_ade20k(tmp_path)}
    source = Ade20kPartSource()
    outcomes = [o for s in source.splits(tmp_path) for o in read_split(source, tmp_path, s)]
    assert not rejects_of(outcomes)
    assert {image.image_id for image in images_of(outcomes)} == set(expected)
    for image in images_of(outcomes):
        wanted = expected[image.image_id]
        assert image.path == wanted.path
        assert image.parts_known
        assert [item.category for item in image.objects] == [o.category for o in wanted.objects]
        for item, native in zip(image.objects, wanted.objects, strict=True):
            assert np.array_equal(masks.decode(item.mask), native.mask)
            parts = {p.name: p for p in image.parts if p.object_id == item.id}
            assert parts.keys() == {part.name for part in native.parts}
            for part in native.parts:
                assert np.array_equal(masks.decode(parts[part.name].mask), part.mask)


def test_each_object_takes_only_its_own_class_s_ids_inside_its_mask(
    tmp_path: Path, written: list[NativeImage]
) -> None:
    image = written[0]
    assert [item.category for item in image.objects] == ["car", "person"]
    labels = np.full((image.height, image.width), 65535, np.uint16)
    labels[:, :] = 132  # car's wheel, everywhere
    labels[10:30, :] = 0  # person's arm: an id of zero is an id
    Image.fromarray(labels).save(part_map(tmp_path, image))
    images, refused = read_train(tmp_path)
    assert not refused
    assert [part.name for part in images[0].parts] == ["wheel", "arm"]
    for part, native, value in zip(images[0].parts, image.objects, (132, 0), strict=True):
        expected = (labels == value) & (native.mask > 0)
        assert np.array_equal(masks.decode(part.mask), expected)


def test_where_objects_overlap_a_part_belongs_to_both(
    tmp_path: Path, written: list[NativeImage]
) -> None:
    def same_class(content: dict[str, Any]) -> None:
        first, second = content["annotations"][:2]
        second.update(category_id=first["category_id"], segmentation=first["segmentation"])

    edit_json(tmp_path / TRAIN, same_class)
    images, refused = read_train(tmp_path)
    assert not refused
    first, second = images[0].objects
    of_first = [(p.name, p.mask) for p in images[0].parts if p.object_id == first.id]
    of_second = [(p.name, p.mask) for p in images[0].parts if p.object_id == second.id]
    assert of_first == of_second != []


@pytest.mark.parametrize("odd", [None, [], [999], "132", {"a": 1}, [[1]], 5, [-1, None]])
def test_part_category_id_filters_nothing(
    tmp_path: Path, written: list[NativeImage], odd: object
) -> None:
    before, _ = read_train(tmp_path)

    def change(content: dict[str, Any]) -> None:
        for item in content["annotations"]:
            item["part_category_id"] = odd

    edit_json(tmp_path / TRAIN, change)
    assert read_train(tmp_path) == (before, [])


@pytest.mark.parametrize(
    "fault", ["absent", "cut", "empty", "jpeg", "eight bits", "other size", "colours", "turned"]
)
def test_without_a_usable_map_objects_stay_and_parts_are_unknown(
    tmp_path: Path, written: list[NativeImage], fault: str
) -> None:
    path, size = part_map(tmp_path, written[0]), (written[0].width, written[0].height)
    content = path.read_bytes()
    path.unlink()
    if fault == "cut":
        path.write_bytes(content[:-30])
    elif fault == "empty":
        path.write_bytes(b"")
    elif fault == "jpeg":
        Image.new("L", size).save(path, "JPEG")
    elif fault == "eight bits":
        Image.new("L", size).save(path)
    elif fault == "other size":
        Image.new("I;16", (size[0] + 1, size[1])).save(path)
    elif fault == "colours":
        Image.new("RGB", size).save(path)
    elif fault == "turned":
        Image.new("I;16", size[::-1]).save(path)
    images, refused = read_train(tmp_path)
    name = written[0].image_id
    assert refused == [(name, Level.IMAGE, Reason.MISSING_PART_MAP)]
    assert len(images) == len(written)
    assert not images[0].parts_known
    assert images[0].parts == ()
    assert [item.category for item in images[0].objects] == ["car", "person"]
    assert all(image.parts_known and image.parts for image in images[1:])


def test_values_that_are_no_part_are_told(tmp_path: Path, written: list[NativeImage]) -> None:
    before, _ = read_train(tmp_path)
    path = part_map(tmp_path, written[0])
    labels = np.array(Image.open(path))
    labels[-1, :3] = (234, 300, 65534)
    Image.fromarray(labels).save(path)
    images, refused = read_train(tmp_path)
    assert refused == [
        (str(value), Level.PART, Reason.UNKNOWN_CATEGORY) for value in (234, 300, 65534)
    ]
    assert images == before


def test_the_map_is_named_after_the_file_not_the_id(
    tmp_path: Path, written: list[NativeImage]
) -> None:
    before, _ = read_train(tmp_path)

    def renumber(content: dict[str, Any]) -> None:
        numbers = {image["id"]: index for index, image in enumerate(content["images"])}
        for image in content["images"]:
            image["id"] = numbers[image["id"]]
        for item in content["annotations"]:
            item["image_id"] = str(numbers[item["image_id"]])

    edit_json(tmp_path / TRAIN, renumber)
    assert read_train(tmp_path) == (before, [])


@pytest.mark.parametrize("name", ["unicorn", "", "Car", "car's wheel"])
def test_a_class_outside_the_taxonomy_is_unknown(
    tmp_path: Path, written: list[NativeImage], name: str
) -> None:
    def rename(content: dict[str, Any]) -> None:
        used = content["annotations"][0]["category_id"]
        next(c for c in content["categories"] if c["id"] == used)["name"] = name

    edit_json(tmp_path / TRAIN, rename)
    images, refused = read_train(tmp_path)
    assert ("1", Level.OBJECT, Reason.UNKNOWN_CATEGORY) in refused
    assert [item.category for item in images[0].objects] == ["person"]


def test_each_val_image_is_in_one_split_and_every_reject_told_once(tmp_path: Path) -> None:
    write_ade20k(tmp_path, 0, 40)

    def break_some(content: dict[str, Any]) -> None:
        content["images"][3]["width"] = None
        content["images"][4]["width"] = 7
        content["images"] += [content["images"][5], 17]
        content["annotations"] += [None, content["annotations"][0] | {"id": 999, "image_id": "x"}]
        for item in content["annotations"][5:9]:
            item["segmentation"] = None
        expected.update(images=len(content["images"]), annotations=len(content["annotations"]))

    expected: dict[str, int] = {}
    edit_json(tmp_path / VAL, break_some)
    source = Ade20kPartSource()
    outcomes = {s: read_split(source, tmp_path, s) for s in ("validation", "test")}
    both = outcomes["validation"] + outcomes["test"]
    assert accounted(both, Level.OBJECT) == expected
    ids = {split: {image.image_id for image in images_of(o)} for split, o in outcomes.items()}
    assert not ids["validation"] & ids["test"]
    assert min(len(ids["validation"]), len(ids["test"])) >= 10
    names = [(r.level, r.record_id, r.reason, r.detail) for r in rejects_of(both)]
    assert max(Counter(names).values()) == 1
    assert {name: read_split(source, tmp_path, name, "hash") for name in outcomes} == outcomes


def test_the_division_looks_at_nothing_but_the_image_id(tmp_path: Path) -> None:
    source = Ade20kPartSource()
    write_ade20k(tmp_path, 0, 30)
    before = {image.image_id for image in images_of(read_split(source, tmp_path, "test"))}
    edit_json(tmp_path / VAL, lambda content: content["images"].reverse())
    assert {image.image_id for image in images_of(read_split(source, tmp_path, "test"))} == before
    edit_json(tmp_path / VAL, lambda content: content.update(images=content["images"][:10]))
    fewer = {image.image_id for image in images_of(read_split(source, tmp_path, "test"))}
    assert fewer == before & {f"ADE_val_{number:08d}" for number in range(21, 31)}


def test_the_official_variant_puts_all_of_them_in_both(tmp_path: Path) -> None:
    write_ade20k(tmp_path, 0, 10)
    source = Ade20kPartSource()
    edit_json(tmp_path / VAL, lambda content: content["annotations"][0].update(segmentation=[]))
    validation, test = (
        read_split(source, tmp_path, split, "official") for split in ("validation", "test")
    )
    assert len(images_of(validation)) == len(images_of(test)) == 10
    assert len(rejects_of(validation)) == len(rejects_of(test)) == 1
    assert {image.split for image in images_of(test)} == {"test"}


def test_the_train_file_serves_train_alone(tmp_path: Path) -> None:
    write_ade20k(tmp_path, 2, 0)
    (tmp_path / VAL).unlink()
    assert Ade20kPartSource().splits(tmp_path) == ("train",)
