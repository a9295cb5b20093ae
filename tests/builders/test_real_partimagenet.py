"""The readers of PartImageNet and PartInventory on real annotations.

Every mask is compared with a computation by raw pycocotools, OpenCV and numpy that uses nothing
of the readers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from builders.formats.segmentation import Refusal, read_segmentations
from mixedparts import masks
from mixedparts.records import ImageRecord, Reason
from mixedparts.sources.contract import get_source
from tests.builders.conformance import images_of, read_split, rejects_of
from tests.factories.real_samples import PARTIMAGENET, SPIN, Content, load, needs, read_clean
from tests.oracles.coco_masks import dense


def check_parts(image: ImageRecord, notes: list[Content], native: Callable[[Content], str]) -> None:
    assert [part.id for part in image.parts] == [str(note["id"]) for note in notes]
    for part, note in zip(image.parts, notes, strict=True):
        expected = dense(note["segmentation"], image.height, image.width)
        assert np.array_equal(masks.decode(part.mask), expected)
        assert part.name == native(note)


@needs(PARTIMAGENET)
@pytest.mark.parametrize("whole", [True, False])
def test_partimagenet_native_mini(tmp_path: Path, whole: bool) -> None:
    base = tmp_path / "PartImageNet"
    (base / "annotations").mkdir(parents=True)
    (base / "images").symlink_to(PARTIMAGENET / "images")
    for folder in ("val", "val_whole") if whole else ("val",):
        (base / "annotations" / folder).symlink_to(PARTIMAGENET / "annotations" / folder)
    content = load(PARTIMAGENET / "annotations/val/val.json")
    names = {entry["id"]: entry["name"].split(" ", 1)[1] for entry in content["categories"]}
    images = read_clean("partimagenet", tmp_path, "validation")
    assert len(images) == len(content["images"]) == 14
    for entry in content["images"]:
        stem = entry["file_name"].split(".")[0]
        image = images[stem]
        notes = [a for a in content["annotations"] if a["image_id"] == entry["id"]]
        check_parts(image, notes, lambda note: names[note["category_id"]])
        (item,) = image.objects
        assert item.category == stem.split("_")[0]
        if whole:
            png = PARTIMAGENET / f"annotations/val_whole/{stem}.png"
            expected = cv2.imread(str(png), cv2.IMREAD_UNCHANGED) != 158
        else:
            stack = [dense(a["segmentation"], image.height, image.width) for a in notes]
            expected = np.max(stack, axis=0) > 0
        assert np.array_equal(masks.decode(item.mask) > 0, expected)


@needs(SPIN / "DERIVED/val_slice_224.json", SPIN / "images_224")
def test_partinventory_slice_in_partimagenet_s_folders(tmp_path: Path) -> None:
    """Ids 1..40, run lengths, `val/` in the file name, and no whole PNG."""
    base = tmp_path / "PartImageNet"
    (base / "images").mkdir(parents=True)
    (base / "images/val").symlink_to(SPIN / "images_224")
    (base / "annotations/val").mkdir(parents=True)
    content = load(SPIN / "DERIVED/val_slice_224.json")
    (base / "annotations/val/val.json").write_text(json.dumps(content), encoding="utf-8")
    names = {entry["id"]: entry["name"].split(" ", 1)[1] for entry in content["categories"]}
    images = read_clean("partimagenet", tmp_path, "validation")
    assert sum(len(image.parts) for image in images.values()) == len(content["annotations"]) == 82
    for entry in content["images"]:
        image = images[Path(entry["file_name"]).stem]
        notes = [a for a in content["annotations"] if a["image_id"] == entry["id"]]
        check_parts(image, notes, lambda n: names[n["category_id"]].replace("Tire", "Tier"))


@needs(SPIN / "DERIVED/val_slice_224.json", SPIN / "images_224")
def test_partinventory_slice(tmp_path: Path) -> None:
    base = tmp_path / "PartInventory"
    (base / "images").mkdir(parents=True)
    (base / "images/val").symlink_to(SPIN / "images_224")
    (base / "annotations").mkdir()
    slice_224 = SPIN / "DERIVED/val_slice_224.json"
    (base / "annotations/spin2_val_parts.json").symlink_to(slice_224)
    content = load(slice_224)
    names = {entry["id"]: entry["name"].split(" ", 1)[1] for entry in content["categories"]}
    images = read_clean("partinventory", tmp_path, "validation")
    assert sum(len(image.parts) for image in images.values()) == 82
    for entry in content["images"]:
        image = images[Path(entry["file_name"]).stem]
        notes = [a for a in content["annotations"] if a["image_id"] == entry["id"]]
        check_parts(image, notes, lambda n: names[n["category_id"]])
        stack = [dense(a["segmentation"], image.height, image.width) for a in notes]
        assert np.array_equal(masks.decode(image.objects[0].mask), np.max(stack, axis=0))


@needs(SPIN / "annotations/spin2_val_parts.json", SPIN / "annotations_dev/spin2_val_parts.json")
@pytest.mark.parametrize("copy", ["annotations", "annotations_dev"])
def test_all_of_partinventory_s_masks(tmp_path: Path, copy: str) -> None:
    """The final file and the working copy, over grey pictures of the annotated sizes."""
    file = SPIN / copy / "spin2_val_parts.json"
    base = tmp_path / "PartInventory"
    (base / "annotations").mkdir(parents=True)
    (base / "annotations/spin2_val_parts.json").symlink_to(file)
    (base / "images/val").mkdir(parents=True)
    content = load(file)
    for entry in content["images"]:
        picture = base / "images/val" / f"{Path(entry['file_name']).stem}.JPEG"
        Image.new("L", (entry["width"], entry["height"])).save(picture)
    names = {entry["id"]: entry["name"].split(" ", 1)[1] for entry in content["categories"]}
    images = read_clean("partinventory", tmp_path, "validation")
    for entry in content["images"]:
        image = images[Path(entry["file_name"]).stem]
        notes = [a for a in content["annotations"] if a["image_id"] == entry["id"]]
        check_parts(image, notes, lambda n: names[n["category_id"]])


@needs(SPIN / "annotations_dev/AeroplaneWing_coco.json")
def test_an_export_of_partinventory_s_tool(tmp_path: Path) -> None:
    """URLs as file names, one category without a space, one mask of another size."""
    file = SPIN / "annotations_dev/AeroplaneWing_coco.json"
    base = tmp_path / "PartInventory"
    (base / "annotations").mkdir(parents=True)
    (base / "annotations/spin2_train_parts.json").symlink_to(file)
    (base / "images/train").mkdir(parents=True)
    content = load(file)
    for entry in content["images"]:
        picture = base / "images/train" / entry["file_name"].rsplit("/", 1)[1]
        Image.new("L", (entry["width"], entry["height"])).save(picture)
    outcomes = read_split(get_source("partinventory"), tmp_path, "train")
    refused = [(r.record_id, r.reason) for r in rejects_of(outcomes)]
    broken = next(n for n in content["annotations"] if str(n["id"]) == refused[0][0])
    same = [n for n in content["annotations"] if n["image_id"] == broken["image_id"]]
    assert refused[0][1] == Reason.MASK_SIZE_MISMATCH
    # Where it was its image's only part, no object is left either.
    assert len(refused) == (2 if len(same) == 1 else 1)
    assert sum(len(image.parts) for image in images_of(outcomes)) == 188
    assert {part.name for image in images_of(outcomes) for part in image.parts} == {"Wing"}


@needs(SPIN / "DERIVED/val_slice_224.json", SPIN / "images_224")
def test_partinventory_s_slice_as_anybody_s_coco_file(tmp_path: Path) -> None:
    """Five lines of YAML instead of a reader: the same masks."""
    for folder, name in (("PartInventory", "spin2_val_parts"), ("coco_parts", "val")):
        (tmp_path / folder / "annotations").mkdir(parents=True)
        (tmp_path / folder / "images").mkdir()
        (tmp_path / folder / "images/val").symlink_to(SPIN / "images_224")
        file = tmp_path / folder / f"annotations/{name}.json"
        file.symlink_to(SPIN / "DERIVED/val_slice_224.json")
    (tmp_path / "coco_parts/coco_parts.yaml").write_text(
        "title: SPIN\nlicence: MIT\nimage_licence: ImageNet\nseparator: ' '\nlink: union\n"
        "splits: {validation: {annotations: annotations/val.json, images: images/val}}\n"
    )
    own = read_clean("partinventory", tmp_path, "validation")
    described = read_clean("coco_parts", tmp_path, "validation")
    assert described.keys() == own.keys()
    for key, image in described.items():
        assert [item.mask for item in image.objects] == [item.mask for item in own[key].objects]
        assert [part.mask for part in image.parts] == [part.mask for part in own[key].parts]
        kind = image.objects[0].category
        assert [part.name for part in image.parts] == [
            f"{kind} {part.name}" for part in own[key].parts
        ]


@needs(SPIN / "annotations/spin2_val_parts.json")
@pytest.mark.parametrize(
    ("file", "refused"),
    [
        ("annotations/spin2_val_parts.json", {}),
        ("annotations_dev/spin2_val_parts.json", {}),
        ("annotations_dev/AeroplaneWing_coco.json", {169: Reason.MASK_SIZE_MISMATCH}),
    ],
)
def test_real_segmentations_of_partinventory(file: str, refused: dict[int, Reason]) -> None:
    content = load(SPIN / file)
    images = {entry["id"]: entry for entry in content["images"]}
    compared, found = 0, {}
    for note in content["annotations"]:
        image = images[note["image_id"]]
        width, height = image["width"], image["height"]
        raw = memoryview(json.dumps(note["segmentation"]).encode())
        (segmentation,) = read_segmentations([raw], width, height)
        if isinstance(segmentation.mask, Refusal):
            found[note["id"]] = segmentation.mask.reason
            continue
        expected = dense(note["segmentation"], height, width)
        assert np.array_equal(masks.decode(segmentation.mask), expected)
        compared += 1
    assert found == refused
    assert compared == len(content["annotations"]) - len(refused) > 100
