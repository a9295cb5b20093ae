"""Two places that hold a bundle's files: the layout's own takes precedence, others must agree."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mixedparts.errors import InputError
from mixedparts.interchange.bundle_import.bundle import open_bundle
from mixedparts.interchange.bundle_import.importing import ImportRequest, import_bundle
from mixedparts.progress import Silent
from tests.factories.bundle import write_bundle
from tests.factories.faults import edit_json

UPSTREAM = "paco/annotations/paco_lvis_v1_train.json"
OWN = "paco_lvis/annotations/paco_lvis_v1_train.json"


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    bundle, sources = write_bundle(tmp_path / "all")
    (bundle / OWN).parent.mkdir(parents=True)
    shutil.copy(sources / UPSTREAM, bundle / OWN)
    return bundle, sources


def test_two_equal_annotation_files_are_no_question(places: tuple[Path, Path]) -> None:
    bundle = open_bundle(*places, ())
    assert bundle.place("paco", "train").objects == bundle.root / OWN


def test_two_different_annotation_files_are_an_error_that_names_both(
    places: tuple[Path, Path],
) -> None:
    edit_json(places[0] / OWN, lambda content: content["annotations"].pop())
    bundle = open_bundle(*places, ())
    with pytest.raises(InputError) as caught:
        bundle.place("paco", "train")
    assert str(places[0] / OWN) in caught.value.message
    assert str(places[1] / UPSTREAM) in caught.value.message
    assert caught.value.hint


def test_images_in_the_bundle_and_beside_it_are_an_error_that_names_both(
    places: tuple[Path, Path], tmp_path: Path
) -> None:
    root, sources = places
    assert open_bundle(root, sources, ()).image_root("paco") == sources
    shutil.copytree(sources / "coco", root / "coco")
    assert open_bundle(root, sources, ()).image_root("paco") == sources
    shutil.move(sources / "coco", root.parent / "coco")
    with pytest.raises(InputError) as caught:
        open_bundle(root, sources, ()).image_root("paco")
    assert f"{root / 'coco'} or of {root.parent / 'coco'}" in caught.value.message
    shutil.rmtree(root / "coco")
    (root / "coco").symlink_to(root.parent / "coco")
    assert open_bundle(root, sources, ()).image_root("paco") == root


def test_splits_with_images_below_two_folders_are_an_error_that_names_both(
    places: tuple[Path, Path],
) -> None:
    root, sources = places
    source = root / "mixed_parts_train.json"
    shutil.copy(source, root / "mixed_parts_val.json")
    for name in ("PartImageNet/annotations/{}_whole/{}", "PartImageNet/annotations/{}/{}"):
        target = root / f"{name.format('val', 'val')}_mixed_parts.json"
        target.parent.mkdir(parents=True)
        shutil.copy(root / f"{name.format('train', 'train')}_mixed_parts.json", target)
    for file in (sources / UPSTREAM, root / OWN):
        shutil.copy(file, file.with_name("paco_lvis_v1_val.json"))
    shutil.copytree(sources / "PartImageNet/images/train", root / "PartImageNet/images/val")
    with pytest.raises(InputError) as caught:
        open_bundle(root, sources, ()).image_root("partimagenet")
    assert (
        f"the train images of part_image_net are below {sources}, those of validation below {root}"
        in caught.value.message
    )


def rejected(bundle: Path, sources: Path, out: Path) -> dict[str, tuple[str, str]]:
    import_bundle(ImportRequest(bundle, sources, out), Silent())
    rows = pq.read_table(out / "rejects.parquet").to_pylist()
    images = (row for row in rows if row["level"] == "image")
    return {row["record_id"]: (row["reason"], row["detail"]) for row in images}


def test_a_bare_name_in_two_image_folders_is_ambiguous(tmp_path: Path) -> None:
    bundle, sources = write_bundle(tmp_path)
    name = "000000000012.jpg"
    edit_json(sources / UPSTREAM, lambda content: content["images"][1].update(file_name=name))
    other = sources / "coco_2017/val2017" / name
    other.parent.mkdir(parents=True)
    shutil.copy(sources / "coco/val2017" / name, other)
    reason, detail = rejected(bundle, sources, tmp_path / "out")["12"]
    assert reason == "ambiguous_image"
    assert f"both coco/val2017/{name} and coco_2017/val2017/{name} fit" in detail


def test_two_ids_of_one_file_stem_are_one_image(tmp_path: Path) -> None:
    bundle, sources = write_bundle(tmp_path)
    folder = sources / "ADE20KPart234/images/validation"
    for number in (1, 2):
        path = folder / f"cam{number}/p0.jpg"
        path.parent.mkdir()
        shutil.move(folder / f"ADE_val_0000000{number}.jpg", path)
    maps = sources / "ADE20KPart234/annotations_detectron2_part/validation"
    shutil.move(maps / "ADE_val_00000001.png", maps / "p0.png")

    def rename(content: dict[str, Any]) -> None:
        for number, image in enumerate(content["images"], 1):
            image["file_name"] = f"cam{number}/p0.jpg"

    edit_json(bundle / "ADE20KPart234/ade20k_instance_val_mixed_parts.json", rename)
    found = rejected(bundle, sources, tmp_path / "out")
    assert found["ADE_val_00000001"] == (
        "ambiguous_map",
        "cam1/p0.png is not there; p0.png fits image ADE_val_00000002 (cam2/p0.jpg) as well",
    )
    reason, detail = found["ADE_val_00000002"]
    assert reason == "duplicate_id"
    assert "has the file of ADE_val_00000001 (cam1/p0.jpg)" in detail
