"""What is PACO's own: links between parts and objects, categories, picture folders."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders.paco import PacoSource
from mixedparts import masks
from mixedparts.errors import InputError
from mixedparts.records import ImageRecord, Level, Reason
from tests.builders.conformance import (
    SourceConformance,
    accounted,
    images_of,
    read_split,
    rejects_of,
)
from tests.factories.faults import Record, edit_json
from tests.factories.paco import paco_categories, write_paco
from tests.factories.scenes import NativeImage, encode, polygon_mask

TRAIN = "paco/annotations/paco_lvis_v1_train.json"
CATEGORY = {entry["name"]: entry["id"] for entry in paco_categories()}


class TestPacoConformance(SourceConformance):
    name = "paco"

    def write(self, root: Path) -> dict[str, tuple[int, int]]:
        write_paco(root)
        found = {}

        def break_some(content: dict[str, Any]) -> None:
            content["annotations"][0]["segmentation"] = []  # its parts lose their object
            content["annotations"].append({"id": 900, "image_id": 1})
            content["images"][-1]["file_name"] = "../outside.jpg"

        for split, short in (("train", "train"), ("validation", "val"), ("test", "test")):
            path = root / f"paco/annotations/paco_lvis_v1_{short}.json"
            if split == "train":
                edit_json(path, break_some)
            content = json.loads(path.read_text())
            found[split] = (len(content["images"]), len(content["annotations"]))
        return found


@pytest.fixture
def written(tmp_path: Path) -> list[NativeImage]:
    return write_paco(tmp_path, {"train": 5})


def read_train(root: Path) -> tuple[list[ImageRecord], list[tuple[str, Level, Reason]]]:
    outcomes = read_split(PacoSource(), root, "train")
    refused = [(r.record_id, r.level, r.reason) for r in rejects_of(outcomes)]
    return images_of(outcomes), refused


def changed(root: Path, change: Any) -> tuple[list[ImageRecord], list[tuple[str, Level, Reason]]]:
    edit_json(root / TRAIN, lambda content: change(content["annotations"]))
    return read_train(root)


def test_masks_names_and_links_are_those_written(tmp_path: Path) -> None:
    expected = {image.image_id: image for image in write_paco(tmp_path)}
    source = PacoSource()
    got = [
        image
        for split in source.splits(tmp_path)
        for image in images_of(read_split(source, tmp_path, split))
    ]
    assert {image.image_id for image in got} == set(expected)
    for image in got:
        wanted = expected[image.image_id]
        assert (image.split, image.path) == (wanted.split, wanted.path)
        assert [item.category for item in image.objects] == [o.category for o in wanted.objects]
        for item, native in zip(image.objects, wanted.objects, strict=True):
            assert np.array_equal(masks.decode(item.mask), native.mask)
            parts = [part for part in image.parts if part.object_id == item.id]
            assert [part.name for part in parts] == [part.name for part in native.parts]
            for part, native_part in zip(parts, native.parts, strict=True):
                assert np.array_equal(masks.decode(part.mask), native_part.mask)


@pytest.mark.parametrize("folder", ["train2017", "val2017"])
def test_a_bare_name_is_looked_for_in_both_folders(
    tmp_path: Path, written: list[NativeImage], folder: str
) -> None:
    (tmp_path / "coco/val2017").mkdir()
    name = written[0].file_name.split("/")[1]
    if folder == "val2017":
        shutil.move(tmp_path / "coco/train2017" / name, tmp_path / "coco/val2017" / name)
    edit_json(tmp_path / TRAIN, lambda content: content["images"][0].update(file_name=name))
    images, refused = read_train(tmp_path)
    assert images[0].path == f"coco/{folder}/{name}"
    assert images[0].file_name == name
    assert not refused


def test_without_any_picture_folder_the_source_says_so(
    tmp_path: Path, written: list[NativeImage]
) -> None:
    (tmp_path / "coco/train2017").rename(tmp_path / "coco/elsewhere")
    with pytest.raises(InputError, match="train2017") as caught:
        PacoSource().splits(tmp_path)
    assert "coco/{train2017,val2017}" in str(caught.value)


def test_parts_may_come_before_their_object(tmp_path: Path, written: list[NativeImage]) -> None:
    before, _ = read_train(tmp_path)
    after, refused = changed(tmp_path, lambda annotations: annotations.reverse())
    assert not refused
    for one, two in zip(before, after, strict=True):
        assert set(one.objects) == set(two.objects)
        assert set(one.parts) == set(two.parts)


def test_a_part_is_not_cut_by_its_object(tmp_path: Path, written: list[NativeImage]) -> None:
    whole = np.ones((written[0].height, written[0].width), np.uint8)
    images, refused = changed(
        tmp_path, lambda annotations: annotations[1].update(segmentation=encode(whole))
    )
    assert not refused
    assert masks.area(images[0].parts[0].mask) == whole.size


def test_either_may_be_polygons_or_run_lengths(tmp_path: Path, written: list[NativeImage]) -> None:
    width, height = written[0].width, written[0].height
    triangle = [3.25, 4, 30.5, 6.75, 12, 40]
    mask = polygon_mask([triangle], width, height)

    def swap(annotations: list[dict[str, Any]]) -> None:
        annotations[0]["segmentation"] = encode(mask)
        annotations[1]["segmentation"] = [triangle]
        runs = masks.runs(masks.from_dense(mask)).tolist()
        annotations[2]["segmentation"] = {"size": [height, width], "counts": runs}

    images, refused = changed(tmp_path, swap)
    assert not refused
    for found in (images[0].objects[0].mask, *(part.mask for part in images[0].parts[:2])):
        assert np.array_equal(masks.decode(found), mask)


Link = Callable[[list[Record]], Record]
ORPHANS: dict[str, Link] = {
    "no such object": lambda a: {"obj_ann_id": 987654},
    "object in another image": lambda a: {"obj_ann_id": a[-1]["obj_ann_id"]},
    "linked to a part": lambda a: {"obj_ann_id": a[2]["id"]},
    "linked to itself": lambda a: {"obj_ann_id": a[1]["id"]},
    "no link": lambda a: {"obj_ann_id": None},
}


@pytest.mark.parametrize("link", ORPHANS.values(), ids=ORPHANS)
def test_a_part_without_a_usable_object_is_an_orphan(
    tmp_path: Path, written: list[NativeImage], link: Link
) -> None:
    part_id = ""

    def change(annotations: list[dict[str, Any]]) -> None:
        nonlocal part_id
        part_id = str(annotations[1]["id"])
        annotations[1].update(link(annotations))

    images, refused = changed(tmp_path, change)
    assert refused == [(part_id, Level.PART, Reason.ORPHAN_PART)]
    assert part_id not in {part.id for part in images[0].parts}


def test_a_part_without_the_key_is_an_orphan(tmp_path: Path, written: list[NativeImage]) -> None:
    _, refused = changed(tmp_path, lambda annotations: annotations[1].pop("obj_ann_id") and None)
    assert [reason for _, _, reason in refused] == [Reason.ORPHAN_PART]


@pytest.mark.parametrize("link", [[1], {}, True, 1.5, ""])
def test_a_link_that_is_no_id_is_malformed(
    tmp_path: Path, written: list[NativeImage], link: object
) -> None:
    _, refused = changed(tmp_path, lambda annotations: annotations[1].update(obj_ann_id=link))
    assert [(level, reason) for _, level, reason in refused] == [
        (Level.PART, Reason.MALFORMED_RECORD)
    ]


def test_parts_of_a_refused_object_are_orphans(tmp_path: Path, written: list[NativeImage]) -> None:
    parts = len(written[0].objects[0].parts)
    images, refused = changed(
        tmp_path, lambda annotations: annotations[0].update(segmentation=[[5, 5, 9, 9]])
    )
    reasons = [(level, reason) for _, level, reason in refused]
    assert reasons == [
        (Level.POLYGON, Reason.SHORT_POLYGON),
        (Level.OBJECT, Reason.MISSING_MASK),
        *[(Level.PART, Reason.ORPHAN_PART)] * parts,
    ]
    assert [item.category for item in images[0].objects] == [written[0].objects[1].category]


def test_a_part_of_another_class_is_a_mismatch(tmp_path: Path, written: list[NativeImage]) -> None:
    assert written[0].objects[0].category == "knife"
    _, refused = changed(
        tmp_path,
        lambda annotations: annotations[1].update(category_id=CATEGORY["scissors:blade"]),
    )
    assert refused == [("2", Level.PART, Reason.PART_CLASS_MISMATCH)]


@pytest.mark.parametrize("name", ["zebra", "knife:wing", "knife:", ":blade", "", "Knife"])
def test_a_category_outside_the_taxonomy_is_unknown(
    tmp_path: Path, written: list[NativeImage], name: str
) -> None:
    edit_json(tmp_path / TRAIN, lambda c: c["categories"].append({"id": 7777, "name": name}))
    _, refused = changed(tmp_path, lambda annotations: annotations[1].update(category_id=7777))
    assert refused == [("2", Level.PART, Reason.UNKNOWN_CATEGORY)]
    edit_json(tmp_path / TRAIN, lambda c: c["annotations"][0].update(category_id=7777))
    _, refused = read_train(tmp_path)
    assert ("1", Level.OBJECT, Reason.UNKNOWN_CATEGORY) in refused


def test_the_file_s_own_category_ids_count(tmp_path: Path, written: list[NativeImage]) -> None:
    before, _ = read_train(tmp_path)

    def renumber(content: dict[str, Any]) -> None:
        for entry in (*content["categories"], *content["annotations"]):
            key = "category_id" if "category_id" in entry else "id"
            entry[key] = f"c{entry[key]}"

    edit_json(tmp_path / TRAIN, renumber)
    after, refused = read_train(tmp_path)
    assert after == before
    assert not refused


def test_a_refused_image_tells_its_objects_from_its_parts(
    tmp_path: Path, written: list[NativeImage]
) -> None:
    (tmp_path / written[0].path).unlink()
    outcomes = read_split(PacoSource(), tmp_path, "train")
    lost = [r.level for r in rejects_of(outcomes) if r.reason is Reason.IMAGE_REJECTED]
    assert lost.count(Level.OBJECT) == len(written[0].objects)
    assert lost.count(Level.PART) == sum(len(item.parts) for item in written[0].objects)
    assert accounted(outcomes)["images"] == len(written)


def test_an_object_without_parts_is_an_object(tmp_path: Path, written: list[NativeImage]) -> None:
    images, _ = read_train(tmp_path)
    balls = [item for image in images for item in image.objects if item.category == "ball"]
    assert balls
    assert all(image.parts_known for image in images)
