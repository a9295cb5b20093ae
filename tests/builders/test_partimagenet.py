"""What is PartImageNet's own: the class in the file name, whole PNGs, spellings of parts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from builders.partimagenet import PartImageNetSource
from mixedparts import masks
from mixedparts.records import ImageRecord, Level, Reason
from tests.builders.conformance import SourceConformance, images_of, read_split, rejects_of
from tests.factories.faults import Record, edit_json
from tests.factories.partimagenet import write_partimagenet
from tests.factories.scenes import Dense, NativeImage

BASE = "PartImageNet"
TRAIN = f"{BASE}/annotations/train/train.json"
Refused = list[tuple[str, Level, Reason]]


class TestPartImageNetConformance(SourceConformance):
    name = "partimagenet"
    level = Level.PART

    def write(self, root: Path) -> dict[str, tuple[int, int]]:
        write_partimagenet(root)
        found = {}

        def break_some(content: dict[str, Any]) -> None:
            content["annotations"][0]["category_id"] = 39  # a bottle's body on a fish
            content["annotations"].append(None)
            content["images"][-1]["width"] += 1

        for split, short in (("train", "train"), ("validation", "val"), ("test", "test")):
            path = root / f"{BASE}/annotations/{short}/{short}.json"
            if split == "train":
                edit_json(path, break_some)
            content = json.loads(path.read_text())
            found[split] = (len(content["images"]), len(content["annotations"]))
        return found


@pytest.fixture
def written(tmp_path: Path) -> list[NativeImage]:
    return write_partimagenet(tmp_path, {"train": 3})


def read_train(root: Path) -> tuple[list[ImageRecord], Refused]:
    outcomes = read_split(PartImageNetSource(), root, "train")
    refused = [(r.record_id, r.level, r.reason) for r in rejects_of(outcomes)]
    return images_of(outcomes), refused


def whole_png(root: Path, image: NativeImage) -> Path:
    return root / f"{BASE}/annotations/train_whole/{image.image_id}.png"


def union(image: NativeImage) -> Dense:
    dense: Dense = np.max([part.mask for part in image.objects[0].parts], axis=0)
    return dense


@pytest.mark.parametrize("whole", [True, False])
def test_masks_and_names_are_those_written(tmp_path: Path, whole: bool) -> None:
    expected = {image.image_id: image for image in write_partimagenet(tmp_path, whole=whole)}
    source = PartImageNetSource()
    outcomes = [o for s in source.splits(tmp_path) for o in read_split(source, tmp_path, s)]
    assert not rejects_of(outcomes)
    assert {image.image_id for image in images_of(outcomes)} == set(expected)
    for image in images_of(outcomes):
        wanted = expected[image.image_id]
        assert (image.split, image.path) == (wanted.split, wanted.path)
        (item,), (native,) = image.objects, wanted.objects
        assert item.category == native.category
        assert np.array_equal(masks.decode(item.mask), native.mask)
        assert [part.name for part in image.parts] == [part.name for part in native.parts]
        for part, native_part in zip(image.parts, native.parts, strict=True):
            assert np.array_equal(masks.decode(part.mask), native_part.mask)


def test_whole_maps_are_optional(tmp_path: Path, written: list[NativeImage]) -> None:
    required = PartImageNetSource().required_files(tmp_path, "train")
    assert f"{BASE}/annotations/train_whole" in required
    shutil.rmtree(tmp_path / BASE / "annotations/train_whole")
    assert f"{BASE}/annotations/train_whole" not in PartImageNetSource().required_files(
        tmp_path, "train"
    )
    images, refused = read_train(tmp_path)
    assert not refused
    for image, native in zip(images, written, strict=True):
        assert np.array_equal(masks.decode(image.objects[0].mask), union(native))


def test_every_pixel_but_background_is_the_object(
    tmp_path: Path, written: list[NativeImage]
) -> None:
    labels = np.full((written[0].height, written[0].width), 158, np.uint8)
    labels[3:20, 5:9] = 0
    labels[30:40, 5:9] = 157
    labels[50:52, 5:9] = 200
    for picture in (Image.fromarray(labels), Image.fromarray(labels, mode="P")):
        if picture.mode == "P":
            picture.putpalette([(7 * n) % 256 for n in range(768)])
        picture.save(whole_png(tmp_path, written[0]))
        images, refused = read_train(tmp_path)
        assert not refused
        assert np.array_equal(masks.decode(images[0].objects[0].mask), labels != 158)


@pytest.mark.parametrize("fault", ["cut", "empty", "no png", "other size", "colours", "a folder"])
def test_an_unusable_whole_map_means_the_union_of_parts(
    tmp_path: Path, written: list[NativeImage], fault: str
) -> None:
    path = whole_png(tmp_path, written[0])
    size = (written[0].width, written[0].height)
    if fault == "cut":
        path.write_bytes(path.read_bytes()[:-30])
    elif fault == "empty":
        path.write_bytes(b"")
    elif fault == "no png":
        Image.new("L", size).save(path, "JPEG")
    elif fault == "other size":
        Image.new("L", (size[0] + 1, size[1])).save(path)
    elif fault == "colours":
        Image.new("RGB", size).save(path)
    else:  # nothing that could be read is there: then no fault either
        path.unlink()
        path.mkdir()
    images, refused = read_train(tmp_path)
    note = (Level.IMAGE, Reason.UNREADABLE_OBJECT_MAP)
    assert [item[1:] for item in refused] == ([] if fault == "a folder" else [note])
    assert len(images) == len(written)
    assert np.array_equal(masks.decode(images[0].objects[0].mask), union(written[0]))
    assert len(images[0].parts) == len(written[0].objects[0].parts)


def test_an_all_background_whole_map_is_an_empty_object(
    tmp_path: Path, written: list[NativeImage]
) -> None:
    image = written[0]
    Image.new("L", (image.width, image.height), 158).save(whole_png(tmp_path, image))
    images, refused = read_train(tmp_path)
    assert images[0].objects == ()
    assert images[0].parts == ()
    orphans = [(Level.PART, Reason.ORPHAN_PART)] * len(image.objects[0].parts)
    assert [item[1:] for item in refused] == [(Level.OBJECT, Reason.EMPTY_MASK), *orphans]


def test_an_image_without_parts_is_its_whole_map_or_nothing(
    tmp_path: Path, written: list[NativeImage]
) -> None:
    whole_png(tmp_path, written[1]).unlink()
    edit_json(tmp_path / TRAIN, lambda content: content.update(annotations=[]))
    images, refused = read_train(tmp_path)
    assert np.array_equal(masks.decode(images[0].objects[0].mask), written[0].objects[0].mask)
    assert images[0].parts == ()
    assert images[0].parts_known
    assert images[1].objects == ()
    assert refused == [("2", Level.OBJECT, Reason.MISSING_MASK)]


@pytest.mark.parametrize(
    ("folder", "file_name"),
    [
        ("train/n01440764", "{name}"),
        ("train/train", "{name}"),
        ("train/train/n01440764", "{name}"),
        ("train/n01440764/n01440764", "{name}"),
        ("train/n01440764", "n01440764/{name}"),
        ("train", "n01440764/{name}"),
        ("train", "train/{name}"),
    ],
)
def test_pictures_are_found_in_every_known_layout(
    tmp_path: Path, written: list[NativeImage], folder: str, file_name: str
) -> None:
    image = written[0]
    target = tmp_path / BASE / "images" / folder / image.file_name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(tmp_path / image.path, target)
    (target.parent / f"._{image.file_name}").write_bytes(b"\x00\x05\x16\x07")
    name = file_name.format(name=image.file_name)
    edit_json(tmp_path / TRAIN, lambda content: content["images"][0].update(file_name=name))
    images, refused = read_train(tmp_path)
    assert not refused
    assert images[0].image_id == image.image_id
    assert images[0].path == target.relative_to(tmp_path).as_posix()
    assert images[0].objects[0].category == "n01440764"


@pytest.mark.parametrize("name", ["._n01440764_100.JPEG", "__MACOSX/n01440764_100.JPEG"])
def test_what_an_archiver_added_is_no_picture(
    tmp_path: Path, written: list[NativeImage], name: str
) -> None:
    target = tmp_path / BASE / "images/train" / name
    target.parent.mkdir(exist_ok=True)
    shutil.copy(tmp_path / written[0].path, target)
    edit_json(tmp_path / TRAIN, lambda content: content["images"][0].update(file_name=name))
    _, refused = read_train(tmp_path)
    assert refused[0] == ("1", Level.IMAGE, Reason.MISSING_IMAGE)


def test_two_records_of_one_file_stem_are_one_image(
    tmp_path: Path, written: list[NativeImage]
) -> None:
    before, _ = read_train(tmp_path)

    def add(content: dict[str, Any]) -> None:
        content["images"].append(content["images"][0] | {"id": 77})
        content["annotations"].append(content["annotations"][0] | {"id": 78, "image_id": 77})

    edit_json(tmp_path / TRAIN, add)
    images, refused = read_train(tmp_path)
    assert images == before
    assert refused == [
        ("77", Level.IMAGE, Reason.DUPLICATE_ID),
        ("78", Level.PART, Reason.IMAGE_REJECTED),
    ]


Spelling = Callable[[Record], Record]
SPELLINGS: dict[str, Spelling] = {
    "as upstream": lambda e: e,
    "tire": lambda e: e | {"name": e["name"].replace("Tier", "Tire")},
    "no spaces": lambda e: e | {"name": e["name"].replace(" ", "")},
    "lower case": lambda e: e | {"name": e["name"].lower(), "supercategory": "odd"},
    "hyphens": lambda e: e | {"name": e["name"].replace(" ", "-")},
    "underscores": lambda e: e | {"name": e["name"].replace(" ", "_")},
    "bare part": lambda e: (
        e
        | {"name": e["name"].split(" ", 1)[1].lower(), "supercategory": e["supercategory"].lower()}
    ),
    "bare tire": lambda e: e | {"name": e["name"].split(" ", 1)[1].lower().replace("tier", "tire")},
    "id only": lambda e: {"id": e["id"]},
}


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
def test_categories_are_known_by_name_else_by_id(tmp_path: Path, spell: Spelling) -> None:
    write_partimagenet(tmp_path, {"train": 5})
    before, _ = read_train(tmp_path)
    names = {part.name for image in before for part in image.parts}
    assert names >= {"Head", "Body", "Side Mirror"}

    def respell(content: dict[str, Any]) -> None:
        content["categories"] = [spell(entry) for entry in content["categories"]]
        tires = {e["id"] for e in content["categories"] if e["id"] in (25, 30)}
        content["annotations"][-1]["category_id"] = max(tires)  # the bicycle's

    edit_json(tmp_path / TRAIN, respell)
    after, refused = read_train(tmp_path)
    assert not refused
    assert after[-1].parts[-1].name == "Tier"
    assert after[:-1] == before[:-1]


def test_the_file_s_own_category_ids_count(tmp_path: Path, written: list[NativeImage]) -> None:
    before, _ = read_train(tmp_path)

    def shift(content: dict[str, Any]) -> None:  # PartInventory counts from 1
        for entry in content["categories"]:
            entry["id"] += 1
        for item in content["annotations"]:
            item["category_id"] += 1

    edit_json(tmp_path / TRAIN, shift)
    after, refused = read_train(tmp_path)
    assert after == before
    assert not refused


@pytest.mark.parametrize("name", ["Fish Wing", "Fish", "Head", "Dragon Head", "?"])
def test_other_names_are_unknown_categories(
    tmp_path: Path, written: list[NativeImage], name: str
) -> None:
    def rename(content: dict[str, Any]) -> None:
        used = content["annotations"][0]["category_id"]
        content["categories"][used].update(name=name, supercategory="")

    edit_json(tmp_path / TRAIN, rename)
    _, refused = read_train(tmp_path)
    assert refused == [("1", Level.PART, Reason.UNKNOWN_CATEGORY)]


def test_a_part_of_another_superclass_is_a_mismatch(
    tmp_path: Path, written: list[NativeImage]
) -> None:
    edit_json(tmp_path / TRAIN, lambda c: c["annotations"][0].update(category_id=0))
    images, refused = read_train(tmp_path)
    assert refused == [("1", Level.PART, Reason.PART_CLASS_MISMATCH)]
    assert len(images[0].parts) == len(written[0].objects[0].parts) - 1


@pytest.mark.parametrize("name", ["n99999999_1.JPEG", "picture.JPEG", "n0144076.JPEG"])
def test_a_class_outside_the_taxonomy_refuses_the_object(
    tmp_path: Path, written: list[NativeImage], name: str
) -> None:
    shutil.copy(tmp_path / written[0].path, tmp_path / BASE / "images/train" / name)
    edit_json(tmp_path / TRAIN, lambda content: content["images"][0].update(file_name=name))
    images, refused = read_train(tmp_path)
    assert images[0].objects == ()
    assert images[0].parts == ()
    assert refused[0] == ("1", Level.OBJECT, Reason.UNKNOWN_CATEGORY)
    assert {item[1:] for item in refused[1:]} == {(Level.PART, Reason.ORPHAN_PART)}
