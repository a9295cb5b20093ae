"""A file that is found at another place than the exact one is used only if it is no guess."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mixedparts.records import ImageRecord, Level, Reason, Reject
from mixedparts.sources.contract import get_source
from tests.builders.conformance import images_of, read_split, rejects_of
from tests.factories.ade20k import write_ade20k
from tests.factories.ade20k_full import write_ade20k_full
from tests.factories.coco_parts import write_coco_parts
from tests.factories.faults import edit_json
from tests.factories.paco import write_paco
from tests.factories.partimagenet import write_partimagenet
from tests.factories.partinventory import write_partinventory
from tests.factories.pascal_part import write_pascal_part
from tests.factories.scenes import NativeImage

TRAIN = {
    "coco_parts": "coco_parts/notes/train.json",
    "paco": "paco/annotations/paco_lvis_v1_train.json",
    "partimagenet": "PartImageNet/annotations/train/train.json",
    "partinventory": "PartInventory/annotations/spin2_train_parts.json",
    "ade20k": "ADE20KPart234/ade20k_instance_train.json",
}
WRITERS: dict[str, Callable[[Path], list[NativeImage]]] = {
    "coco_parts": write_coco_parts,
    "paco": write_paco,
    "partimagenet": write_partimagenet,
    "partinventory": write_partinventory,
    "ade20k": write_ade20k,
}


def written(name: str, root: Path) -> list[NativeImage]:
    return [image for image in WRITERS[name](root) if image.split == "train"]


def rename(name: str, root: Path, *names: str) -> None:
    """Give the first images of train these file names."""

    def change(content: dict[str, Any]) -> None:
        for image, file_name in zip(content["images"], names, strict=False):
            image["file_name"] = file_name

    edit_json(root / TRAIN[name], change)


def read(name: str, root: Path) -> tuple[dict[str, ImageRecord], list[Reject]]:
    """Return the images of train by file name, and the rejects of level image."""
    outcomes = read_split(get_source(name), root, "train", shard_images=1)
    refused = [item for item in rejects_of(outcomes) if item.level is Level.IMAGE]
    return {image.file_name: image for image in images_of(outcomes)}, refused


def move(root: Path, old: str, new: str) -> None:
    (root / new).parent.mkdir(parents=True, exist_ok=True)
    shutil.move(root / old, root / new)


def test_a_picture_of_another_record_is_not_taken(tmp_path: Path) -> None:
    first, second = written("coco_parts", tmp_path)[:2]
    folder = "coco_parts/pictures/train"
    move(tmp_path, first.path, f"{folder}/p0.jpg")
    (tmp_path / second.path).unlink()
    rename("coco_parts", tmp_path, "p0.jpg", "cam2/p0.jpg")
    images, refused = read("coco_parts", tmp_path)
    assert images["p0.jpg"].path == f"{folder}/p0.jpg"
    assert "cam2/p0.jpg" not in images
    assert [(item.record_id, item.reason) for item in refused] == [("1", Reason.AMBIGUOUS_IMAGE)]
    assert refused[0].detail == (
        f"{folder}/cam2/p0.jpg is not there; {folder}/p0.jpg fits image 0 (p0.jpg) as well"
    )


def test_two_records_that_end_at_one_picture_are_both_refused(tmp_path: Path) -> None:
    first, second = written("coco_parts", tmp_path)[:2]
    move(tmp_path, first.path, "coco_parts/pictures/train/p0.jpg")
    (tmp_path / second.path).unlink()
    rename("coco_parts", tmp_path, "cam1/p0.jpg", "cam2/p0.jpg")
    images, refused = read("coco_parts", tmp_path)
    assert not {"cam1/p0.jpg", "cam2/p0.jpg"} & set(images)
    assert [(item.record_id, item.reason) for item in refused] == [
        ("0", Reason.AMBIGUOUS_IMAGE),
        ("1", Reason.AMBIGUOUS_IMAGE),
    ]
    assert "image 1 (cam2/p0.jpg)" in refused[0].detail
    assert "image 0 (cam1/p0.jpg)" in refused[1].detail


def test_a_fallback_that_is_no_guess_is_taken(tmp_path: Path) -> None:
    first, second = written("coco_parts", tmp_path)[:2]
    folder = "coco_parts/pictures/train"
    move(tmp_path, first.path, f"{folder}/p0.jpg")
    move(tmp_path, second.path, f"{folder}/cam2/p0.jpg")
    rename("coco_parts", tmp_path, "cam1/p0.jpg", "cam2/p0.jpg")
    images, refused = read("coco_parts", tmp_path)
    assert refused == []
    assert images["cam1/p0.jpg"].path == f"{folder}/p0.jpg"
    assert images["cam2/p0.jpg"].path == f"{folder}/cam2/p0.jpg"


def test_a_bare_name_in_both_coco_folders_is_ambiguous(tmp_path: Path) -> None:
    first, *_ = written("paco", tmp_path)
    name = Path(first.file_name).name
    (tmp_path / "coco/val2017").mkdir(exist_ok=True)
    for folder in ("train2017", "val2017"):
        if not (tmp_path / "coco" / folder / name).exists():
            shutil.copy(tmp_path / first.path, tmp_path / "coco" / folder / name)
    rename("paco", tmp_path, name)
    images, refused = read("paco", tmp_path)
    assert name not in images
    assert [item.reason for item in refused] == [Reason.AMBIGUOUS_IMAGE]
    assert f"both coco/train2017/{name} and coco/val2017/{name} fit" in refused[0].detail


def test_a_bare_name_does_not_take_the_picture_of_a_full_name(tmp_path: Path) -> None:
    first, second = written("paco", tmp_path)[:2]
    bare = Path(first.file_name).name
    (tmp_path / second.path).unlink()
    rename("paco", tmp_path, first.file_name, bare)
    images, refused = read("paco", tmp_path)
    assert images[first.file_name].path == first.path
    assert bare not in images
    assert [item.reason for item in refused] == [Reason.AMBIGUOUS_IMAGE]
    assert f"({first.file_name})" in refused[0].detail


@pytest.mark.parametrize("spelling", ["{name}", "./{name}"])
def test_two_ids_of_one_picture_are_a_duplicate_that_names_both(
    tmp_path: Path, spelling: str
) -> None:
    first, second = written("paco", tmp_path)[:2]
    rename("paco", tmp_path, first.file_name, spelling.format(name=first.file_name))
    size = {"width": first.width, "height": first.height}
    edit_json(tmp_path / TRAIN["paco"], lambda content: content["images"][1].update(size))
    images, refused = read("paco", tmp_path)
    assert images[first.file_name].image_id == first.image_id
    assert [(item.record_id, item.reason) for item in refused] == [
        (second.image_id, Reason.DUPLICATE_ID)
    ]
    assert f"has the file of {first.image_id} ({first.file_name})" in refused[0].detail


def test_two_suffixes_of_one_stem_are_a_duplicate_that_names_both(tmp_path: Path) -> None:
    written("coco_parts", tmp_path)
    rename("coco_parts", tmp_path, "shelf/train-0.jpg", "shelf/train-0.png")
    _, refused = read("coco_parts", tmp_path)
    assert [(item.record_id, item.reason) for item in refused] == [("1", Reason.DUPLICATE_ID)]
    assert "shelf/train-0.png" in refused[0].detail
    assert "before it 0 (shelf/train-0.jpg)" in refused[0].detail


def test_the_named_folder_comes_before_the_bare_name(tmp_path: Path) -> None:
    first, second = written("ade20k", tmp_path)[:2]
    folder = "ADE20KPart234/images/training"
    maps = "ADE20KPart234/annotations_detectron2_part/training"
    name = Path(first.path).name
    for base, file in ((folder, name), (maps, name.replace(".jpg", ".png"))):
        move(tmp_path, f"{base}/{file}", f"{base}/cam1/{file}")
    shutil.copy(tmp_path / second.path, tmp_path / folder / name)
    labels = np.full((first.height, first.width), 65535, np.uint16)
    Image.fromarray(labels).save(tmp_path / maps / name.replace(".jpg", ".png"))
    rename("ade20k", tmp_path, f"cam1/{name}")
    images, refused = read("ade20k", tmp_path)
    assert refused == []
    assert images[f"cam1/{name}"].path == f"{folder}/cam1/{name}"
    assert len(images[f"cam1/{name}"].parts) == sum(len(item.parts) for item in first.objects)


def test_a_part_map_that_two_images_fit_is_given_to_none(tmp_path: Path) -> None:
    first, second = written("ade20k", tmp_path)[:2]
    folder = "ADE20KPart234/images/training"
    for image, camera in ((first, "cam1"), (second, "cam2")):
        move(tmp_path, image.path, f"{folder}/{camera}/p0.jpg")
    move(
        tmp_path,
        f"ADE20KPart234/annotations_detectron2_part/training/{first.image_id}.png",
        "ADE20KPart234/annotations_detectron2_part/training/p0.png",
    )
    rename("ade20k", tmp_path, "cam1/p0.jpg", "cam2/p0.jpg")
    images, refused = read("ade20k", tmp_path)
    assert not images["cam1/p0.jpg"].parts_known
    assert images["cam1/p0.jpg"].parts == ()
    assert images["cam1/p0.jpg"].objects
    lost, late = refused
    assert (lost.record_id, lost.reason) == (first.image_id, Reason.AMBIGUOUS_MAP)
    assert lost.detail == (
        f"cam1/p0.png is not there; p0.png fits image {second.image_id} (cam2/p0.jpg) as well"
    )
    assert late.reason is Reason.DUPLICATE_ID


def test_two_whole_maps_of_an_image_mean_the_union_of_its_parts(tmp_path: Path) -> None:
    first, *_ = written("partimagenet", tmp_path)
    before, _ = read("partimagenet", tmp_path)
    folder = tmp_path / "PartImageNet/annotations/train_whole"
    png, synset = f"{first.image_id}.png", first.image_id.split("_")[0]
    (folder / synset).mkdir()
    shutil.copy(folder / png, folder / synset / png)
    assert read("partimagenet", tmp_path) == (before, [])
    image = tmp_path / first.path
    move(tmp_path, first.path, str(image.parent.relative_to(tmp_path) / "new" / image.name))
    rename("partimagenet", tmp_path, f"new/{image.name}")
    images, refused = read("partimagenet", tmp_path)
    assert [(item.reason, item.detail) for item in refused] == [
        (
            Reason.AMBIGUOUS_MAP,
            f"new/{png} is not there; both {png} and {synset}/{png} fit",
        )
    ]
    assert len(images[f"new/{image.name}"].objects) == 1


@pytest.mark.parametrize("name", ["partimagenet", "partinventory"])
def test_a_picture_in_two_folders_is_ambiguous(tmp_path: Path, name: str) -> None:
    first, *_ = written(name, tmp_path)
    bare = Path(first.path).name
    base = str(Path(first.path).parent)
    rename(name, tmp_path, bare)
    before, refused = read(name, tmp_path)
    assert refused == []
    assert before[bare].path == first.path
    synset = bare.split("_")[0]
    for folder in ("train", synset):
        (tmp_path / base / folder).mkdir(exist_ok=True)
        shutil.copy(tmp_path / first.path, tmp_path / base / folder / bare)
    assert read(name, tmp_path) == (before, [])
    (tmp_path / first.path).unlink()
    images, refused = read(name, tmp_path)
    assert bare not in images
    assert [item.reason for item in refused] == [Reason.AMBIGUOUS_IMAGE]
    assert f"both {base}/{synset}/{bare} and {base}/train/{bare} fit" in refused[0].detail


def test_a_picture_of_two_json_files_is_given_to_its_own(tmp_path: Path) -> None:
    images = [image for image in write_ade20k_full(tmp_path) if image.split == "train"]
    first, second = images[:2]
    (path,) = tmp_path.rglob(f"{first.image_id}.json")
    copy = path.with_name("another.json")
    copy.write_bytes(path.read_bytes())
    loaded = json.loads(copy.read_text())
    assert loaded["annotation"]["filename"] == f"{first.image_id}.jpg"
    found, refused = read("ade20k_full", tmp_path)
    assert found[f"{first.image_id}.jpg"].image_id == first.image_id
    clash = [item for item in refused if item.reason is Reason.AMBIGUOUS_IMAGE]
    assert [item.record_id for item in clash] == ["another"]
    assert clash[0].detail == f"{first.image_id}.jpg is the image of {path.name} as well"
    assert second.file_name in found


def test_an_instance_png_of_two_records_is_the_mask_of_neither(tmp_path: Path) -> None:
    first = next(image for image in write_ade20k_full(tmp_path) if image.split == "train")
    (path,) = tmp_path.rglob(f"{first.image_id}.json")
    content = json.loads(path.read_text())
    entries = content["annotation"]["object"]
    known = {item.id for item in read("ade20k_full", tmp_path)[0][first.file_name].objects}
    one, two = [entry for entry in entries if str(entry["id"]) in known][:2]
    two["instance_mask"] = one["instance_mask"]
    path.write_text(json.dumps(content))
    _, refused = read("ade20k_full", tmp_path)
    (lost,) = [item for item in refused if item.reason is Reason.UNREADABLE_OBJECT_MAP]
    png = Path(one["instance_mask"]).name
    assert lost.detail == (
        f"2 by outline and class map: {png} is the mask of objects {one['id']} and {two['id']}"
    )


def test_a_name_that_a_list_repeats_is_told_with_both_lines(tmp_path: Path) -> None:
    written = [
        image for image in write_pascal_part(tmp_path, {"train": 3}) if image.split == "train"
    ]
    path = tmp_path / "VOCdevkit/VOC2010/ImageSets/Main/train.txt"
    path.write_text(path.read_text() + f"{written[0].image_id}\n")
    _, refused = read("pascal_part", tmp_path)
    (late,) = refused
    assert late.reason is Reason.DUPLICATE_ID
    line = len(path.read_text().splitlines())
    assert late.detail == f"line {line}: {written[0].image_id} was there before, in line 1"
