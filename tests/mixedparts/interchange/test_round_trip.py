"""A bundle exported from a build and imported again gives the same tables."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from mixedparts.errors import InputError
from mixedparts.interchange.bundle_import.importing import ImportRequest, import_bundle
from mixedparts.interchange.export.request import ExportRequest, Format, Origin, Visibility
from mixedparts.interchange.export.run import export
from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.progress import Silent
from mixedparts.verification.verify import verify
from tests.factories.paco import write_paco
from tests.oracles.build_tables import iter_rows

SHORT = {"train": "train", "validation": "val", "test": "test"}
DATASETS = {"paco": "paco_lvis", "partimagenet": "part_image_net", "ade20k": "ade20k_part234"}


def bundle_of(build_folder: Path, out: Path, **choices: Any) -> dict[str, Any]:
    request = ExportRequest(build_folder, Format.PUBLISHED, out, **choices)
    return export(request, Silent()).values


def rows(folder: Path, table: str) -> dict[str, list[dict[str, Any]]]:
    splits = ("train", "validation", "test", "benchmark")
    return {split: list(iter_rows(folder, table, split)) for split in splits}


def dense(value: dict[str, Any]) -> Any:
    return coco_mask.decode(value | {"counts": value["counts"].encode()}).astype(bool)


@pytest.fixture(scope="module")
def bundle(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of `built`; do not write here."""
    out = tmp_path_factory.mktemp("bundle") / "bundle"
    bundle_of(built, out)
    return out


def test_everything_comes_back(
    built: Path, bundle: Path, native_root: Path, tmp_path: Path
) -> None:
    request = ImportRequest(bundle, native_root, tmp_path / "again")
    manifest = import_bundle(request, Silent())
    for table in ("pairs", "entities", "images"):
        assert rows(tmp_path / "again", table) == rows(built, table), table
    assert manifest["counts"] == json.loads((built / "manifest.json").read_text())["counts"]
    assert manifest["rejects"] == {}
    assert verify(tmp_path / "again", "deep").listed == []


def test_a_build_of_the_published_profile_comes_back(
    published: Path, native_root: Path, tmp_path: Path
) -> None:
    out = published
    for origin in Origin:
        folder = tmp_path / origin
        bundle_of(out, folder / "bundle", annotations=origin, root=native_root)
        import_bundle(ImportRequest(folder / "bundle", native_root, folder / "again"), Silent())
        for table in ("pairs", "images"):
            assert rows(folder / "again", table) == rows(out, table), table
    again = tmp_path / Origin.OWN / "again"
    assert rows(again, "entities") == rows(out, "entities")


def test_ade_images_in_two_splits_come_back(native_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "official"
    build(
        BuildConfig(("ade20k",), root=native_root, out=out, samples=120, ade20k_test="official"),
        Silent(),
    )
    bundle_of(out, tmp_path / "bundle")
    import_bundle(ImportRequest(tmp_path / "bundle", native_root, tmp_path / "again"), Silent())
    for table in ("pairs", "entities", "images"):
        assert rows(tmp_path / "again", table) == rows(out, table), table


def test_pairs_come_back_through_the_original_files(
    built: Path, native_root: Path, tmp_path: Path
) -> None:
    bundle_of(built, tmp_path / "bundle", annotations=Origin.ORIGINAL, root=native_root)
    assert not (tmp_path / "bundle" / "paco_lvis").exists()
    assert not list((tmp_path / "bundle").rglob("*.png"))
    original = json.loads((native_root / "paco/annotations/paco_lvis_v1_val.json").read_text())
    ids = {item["id"] for item in original["annotations"]}
    records = json.loads((tmp_path / "bundle" / "mixed_parts_val.json").read_text())
    named = [n for r in records if r["dataset_name"] == "paco_lvis" and r["is_object"]
             for entry in r["common"] for side in entry["ann_ids"] for n in side]  # fmt: skip
    assert named
    assert set(named) <= ids
    request = ImportRequest(tmp_path / "bundle", native_root, tmp_path / "again")
    import_bundle(request, Silent())
    for table in ("pairs", "images"):
        assert rows(tmp_path / "again", table) == rows(built, table), table
    write_paco(tmp_path / "other", {"train": 30, "validation": 3, "test": 3})
    with pytest.raises(InputError, match="other masks"):
        bundle_of(built, tmp_path / "b2", annotations=Origin.ORIGINAL, root=tmp_path / "other")
    with pytest.raises(InputError, match="no annotation file"):
        bundle_of(built, tmp_path / "b3", annotations=Origin.ORIGINAL, root=tmp_path / "no")


def test_records_have_the_published_schema(built: Path, bundle: Path) -> None:
    """Read the bundle with plain json, as its published loaders do, and decode what it names."""
    tasks: Counter[tuple[str, str, str]] = Counter()
    for split, short in SHORT.items():
        files = {name: _annotations(bundle, name, short) for name in DATASETS.values()}
        for record in json.loads((bundle / f"mixed_parts_{short}.json").read_text()):
            assert record.keys() == {
                "dataset_name", "img_ids", "is_object", "common" if record["is_object"] else "pairs"
            }  # fmt: skip
            name, images = record["dataset_name"], record["img_ids"]
            objects, found_parts, maps = files[name]
            for entry in record["common"] if record["is_object"] else record["pairs"]:
                assert len(entry["visibility"]) == 2
                for image, ids in zip(images, entry["ann_ids"], strict=True):
                    assert all(objects[n]["image_id"] == image for n in ids)
                if record["is_object"]:
                    assert entry.keys() == {"cat", "ann_ids", "visibility"}
                    tasks[split, name, "common_object"] += 1
                    continue
                assert entry.keys() == {"cats", "ann_ids", "visibility", "common", "unique"}
                assert entry["common"] or entry["unique"]
                key = "part_cat_ids" if name == "ade20k_part234" else "part_ann_ids"
                tasks[split, name, "common_parts"] += entry["common"] is not None
                tasks[split, name, "unique_parts"] += entry["unique"] is not None
                named = []
                for part in entry["common"] or ():
                    assert part.keys() == {"part_cat", "part_visibility", key}
                    named += list(zip(images, entry["ann_ids"], part[key], strict=True))
                if entry["unique"]:
                    assert entry["unique"].keys() == {"part_cats", key}
                    for image, own, cats, lists in zip(
                        images, entry["ann_ids"], entry["unique"]["part_cats"],
                        entry["unique"][key], strict=True,
                    ):  # fmt: skip
                        assert len(cats) == len(lists)
                        named += [(image, own, ids) for ids in lists]
                for image, own, ids in named:
                    if maps is None:
                        assert all(found_parts[n]["image_id"] == image for n in ids)
                        continue
                    whole = np.any([dense(objects[n]["segmentation"]) for n in own], axis=0)
                    labels = np.asarray(Image.open(maps / f"{image}.png"))
                    assert (np.isin(labels, ids) & whole).any()
    wanted = Counter(
        (split, DATASETS[row["source"]], row["task"])
        for split, mine in rows(built, "pairs").items()
        if split in SHORT
        for row in mine
    )
    assert tasks == wanted


def _annotations(bundle: Path, name: str, short: str) -> tuple[Any, Any, Path | None]:
    def by_id(path: str) -> dict[int, Any]:
        content = json.loads((bundle / path).read_text())
        assert len({item["id"] for item in content["annotations"]}) == len(content["annotations"])
        return {item["id"]: item for item in content["annotations"]}

    if name == "paco_lvis":
        found = by_id(f"paco_lvis/annotations/paco_lvis_v1_{short}.json")
        return found, found, None
    if name == "part_image_net":
        folder = "PartImageNet/annotations"
        whole = by_id(f"{folder}/{short}_whole/{short}_mixed_parts.json")
        assert all(item["image_id"] == n for n, item in whole.items())
        return whole, by_id(f"{folder}/{short}/{short}_mixed_parts.json"), None
    short = "train" if short == "train" else "val"
    maps = bundle / "ADE20KPart234/annotations_detectron2_part"
    objects = by_id(f"ADE20KPart234/ade20k_instance_{short}_mixed_parts.json")
    return objects, None, maps / ("training" if short == "train" else "validation")


def test_visibility_is_what_was_asked_for(built: Path, tmp_path: Path) -> None:
    seen = {}
    for kind in Visibility:
        out = tmp_path / kind
        bundle_of(built, out, visibility=kind, splits=("test",))
        records = json.loads((out / "mixed_parts_test.json").read_text())
        record = next(r for r in records if not r["is_object"] and r["pairs"][0]["common"])
        pair = record["pairs"][0]
        seen[kind] = pair["visibility"], pair["common"][0]["part_visibility"]
        assert "here it is" in (out / "README.md").read_text()
    image, own, constant = seen.values()
    assert constant == ([0, 0], [0, 0])
    assert image[0] == own[0]
    for share, of_object, whole in zip(image[1], own[1], image[0], strict=True):
        assert share == pytest.approx(of_object * whole, abs=1e-5)


def test_a_limited_bundle_holds_only_what_its_rows_show(
    built: Path, native_root: Path, tmp_path: Path
) -> None:
    values = bundle_of(built, tmp_path / "few", limit=7)
    assert values["rows"] == {"test": 7, "train": 7, "validation": 7}
    import_bundle(ImportRequest(tmp_path / "few", native_root, tmp_path / "again"), Silent())
    for split, mine in rows(tmp_path / "again", "pairs").items():
        if split in SHORT:
            wanted = {row["id"]: row for row in rows(built, "pairs")[split][:7]}
            assert {row["id"] for row in mine} == set(wanted)
            for row in mine:
                for key in ("objects", "parts", "question", "answer", "seg", "task"):
                    assert row[key] == wanted[row["id"]][key]
    shown = {ref["image_id"] for mine in rows(tmp_path / "again", "pairs").values()
             for row in mine for ref in row["images"]}  # fmt: skip
    assert {
        e["image_id"] for s in rows(tmp_path / "again", "entities").values() for e in s
    } == shown
