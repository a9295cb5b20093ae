"""The readers on real annotations, where a folder of real samples lies beside the checkout.

Every mask is compared with a computation by raw pycocotools, OpenCV and numpy that uses nothing
of the readers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

from builders.formats.segmentation import Refusal, read_segmentations
from mixedparts import masks
from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.progress import Silent
from mixedparts.records import ImageRecord, Reason, Task
from mixedparts.sources.contract import get_source
from mixedparts.sources.manifests import load_manifest
from mixedparts.verification.verify import verify
from tests.builders.conformance import images_of, read_split, rejects_of

SAMPLES = Path(__file__).parents[3] / "shared" / "data"
SPIN = SAMPLES / "partimagenet_spin2"
PARTIMAGENET = SPIN / "DERIVED/partimagenet_native_mini"
FULL = SAMPLES / "ade20k_full/ADE20K_2021_17_01"
ADE = SAMPLES / "ade20k_full/DERIVED/ADE20KPart234_mini"
Content = dict[str, Any]


def needs(*paths: Path) -> pytest.MarkDecorator:
    missing = [path.name for path in paths if not path.exists()]
    return pytest.mark.skipif(bool(missing), reason=f"no real sample {missing}")


def load(path: Path) -> Content:
    content: Content = json.loads(path.read_text(encoding="utf-8"))
    return content


def raw_mask(segmentation: Any, width: int, height: int) -> NDArray[np.uint8]:
    if isinstance(segmentation, list):
        rle = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        rle = coco_mask.frPyObjects(segmentation, height, width)
    else:
        rle = segmentation
    dense: NDArray[np.uint8] = coco_mask.decode(rle)
    return dense


def read_clean(name: str, root: Path, split: str) -> dict[str, ImageRecord]:
    outcomes = read_split(get_source(name), root, split)
    assert rejects_of(outcomes) == []
    return {image.image_id: image for image in images_of(outcomes)}


def check_parts(image: ImageRecord, notes: list[Content], native: Callable[[Content], str]) -> None:
    assert [part.id for part in image.parts] == [str(note["id"]) for note in notes]
    for part, note in zip(image.parts, notes, strict=True):
        expected = raw_mask(note["segmentation"], image.width, image.height)
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
            stack = [raw_mask(a["segmentation"], image.width, image.height) for a in notes]
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
        stack = [raw_mask(a["segmentation"], image.width, image.height) for a in notes]
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


@needs(PARTIMAGENET, SPIN / "images_224", ADE, FULL)
def test_all_real_slices_build_and_verify(tmp_path: Path) -> None:
    root = tmp_path / "sources"
    for folder, target in (
        ("PartImageNet", PARTIMAGENET),
        ("PartInventory/images/val", SPIN / "images_224"),
        ("PartInventory/annotations/spin2_val_parts.json", SPIN / "DERIVED/val_slice_224.json"),
        ("ADE20KPart234", ADE),
        ("ADE20K_2021_17_01", FULL),
    ):
        (root / folder).parent.mkdir(parents=True, exist_ok=True)
        (root / folder).symlink_to(target)
    names = ("ade20k", "ade20k_full", "partimagenet", "partinventory")
    config = BuildConfig(
        sources=names,
        root=root,
        out=tmp_path / "out",
        min_object_area=0.001,  # the street scenes show small objects
        min_part_area=0.00001,
    )
    manifest = build(config, Silent())
    rows = {
        name: sum(
            count.get(str(task), 0) for count in manifest["counts"][name].values() for task in Task
        )
        for name in names
    }
    assert all(rows.values()), rows
    assert set(manifest["rejects"]) == {str(Reason.OUTSIDE_VOCABULARY)}
    assert verify(config.out, "deep").listed == []


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
            mask = raw_mask(note["segmentation"], image.width, image.height)
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
    sizes = {entry["id"]: (entry["width"], entry["height"]) for entry in images}
    notes: list[Content] = []
    for number, source in enumerate(lvis["annotations"]):
        owner = objects[number % len(objects)]
        object_id = len(notes) + 1
        note = {key: source[key] for key in ("image_id", "segmentation", "area", "bbox")}
        notes.append(note | {"id": object_id, "category_id": owner["id"], "obj_ann_id": object_id})
        mask = raw_mask(source["segmentation"], *sizes[source["image_id"]])
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
            expected = raw_mask(note["segmentation"], image.width, image.height)
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
        expected = raw_mask(note["segmentation"], width, height)
        assert np.array_equal(masks.decode(segmentation.mask), expected)
        compared += 1
    assert found == refused
    assert compared == len(content["annotations"]) - len(refused) > 100
