"""The pipeline from native files to tables, against an independent computation."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mixedparts.errors import InputError, UsageError
from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.progress import Silent
from mixedparts.storage.schema import CONFIGS
from tests.checkout import REAL_SAMPLES
from tests.conftest import SOURCES
from tests.oracles import native_files as oracle
from tests.oracles.build_tables import all_rows, iter_rows

SPLITS = ("train", "validation", "test")


def test_masks_equal_an_independent_computation(built: Path, native_root: Path) -> None:
    images = oracle.native_images(native_root)
    compared: Counter[str] = Counter()
    for row in all_rows(built):
        compared[row["source"]] += oracle.check_row(row, images)
    assert set(compared) == set(SOURCES)
    assert min(compared.values()) > 100


def test_common_and_unique_parts_follow_their_definition(built: Path, native_root: Path) -> None:
    images = oracle.native_images(native_root)
    for row in all_rows(built):
        named = [{p["name"] for p in row["parts"] if p["image"] == side} for side in (0, 1)]
        assert named == oracle.parts_of_row(row, images)
        if row["task"] == "common_object":
            assert row["objects"][0]["category"] == row["objects"][1]["category"]


def test_all_admissible_pairs_are_there_when_samples_allow(
    native_root: Path, tmp_path: Path
) -> None:
    config = BuildConfig(sources=("paco",), root=native_root, out=tmp_path / "all", samples=10**6)
    build(config, Silent())
    images = oracle.paco(native_root)
    rows = [r for r in iter_rows(tmp_path / "all", "pairs", "test") if r["task"] == "common_object"]
    test_ids = {ref["image_id"] for r in iter_rows(tmp_path / "all", "pairs", "test") for ref in
                r["images"]}  # fmt: skip
    wanted = set()
    for one in test_ids:
        for two in test_ids:
            for name, seen in images["paco", one].items():
                other = images["paco", two].get(name)
                if one < two and other is not None:
                    big = [s.mask.sum() / s.mask.size >= 0.02 for s in (seen, other)]
                    if all(big):
                        wanted.add((frozenset((one, two)), name))
    found = [
        (frozenset(ref["image_id"] for ref in row["images"]), row["objects"][0]["category"])
        for row in rows
    ]
    assert len(set(found)) == len(found)
    assert set(found) == wanted


def test_rows_stand_in_the_order_of_their_ids(built: Path) -> None:
    for split in (*SPLITS, "benchmark"):
        ids = [row["id"] for row in iter_rows(built, "pairs", split, ["id"])]
        assert ids == sorted(set(ids))
        assert len(ids) > 20


def test_tables_have_the_contract_types_and_join(built: Path) -> None:
    for table, schema in CONFIGS.items():
        for path in (built / table).glob("*.parquet"):
            assert pq.read_schema(path).remove_metadata() == schema
    for split in SPLITS:
        images = list(iter_rows(built, "images", split))
        assert [row["row"] for row in images] == list(range(len(images)))
        used = set()
        for row in iter_rows(built, "pairs", split):
            assert row["split"] == split
            assert row["images"][0]["image_id"] != row["images"][1]["image_id"]
            for ref in row["images"]:
                stored = images[ref["row"]]
                assert (stored["image_id"], stored["source"]) == (ref["image_id"], row["source"])
                used.add(ref["row"])
        assert used == set(range(len(images)))


def test_benchmark_is_a_balanced_copy_of_test_rows(built: Path) -> None:
    test = {row["id"]: row for row in iter_rows(built, "pairs", "test")}
    benchmark = list(iter_rows(built, "pairs", "benchmark"))
    assert all(row == test[row["id"]] for row in benchmark)
    cells = Counter((row["source"], row["task"]) for row in benchmark)
    every = Counter((row["source"], row["task"]) for row in test.values())
    assert set(cells.values()) == {min(112, *every.values())}
    assert set(cells) == set(every)


def test_entities_are_what_the_rows_were_made_from(built: Path) -> None:
    for split in SPLITS:
        images = list(iter_rows(built, "images", split))
        kept: dict[tuple[int, str], dict[str, Any]] = {}
        for entity in iter_rows(built, "entities", split):
            assert entity["split"] == split
            names = [part["name"] for part in entity["parts"]]
            assert names == sorted(set(names))
            if entity["row"] is not None:
                assert images[entity["row"]]["image_id"] == entity["image_id"]
                kept[entity["row"], entity["category"]] = entity
        for row in iter_rows(built, "pairs", split):
            for ref, item in zip(row["images"], row["objects"], strict=True):
                entity = kept[ref["row"], item["category"]]
                assert all(entity[key] == item[key] for key in ("mask", "bbox", "area"))
                shown = [part for part in row["parts"] if part["image"] == item["image"]]
                parts = {part["name"]: part for part in entity["parts"]}
                for part in shown:
                    assert all(parts[part["name"]][k] == part[k] for k in ("mask", "bbox", "area"))


def test_manifest_reconciles_with_the_tables(built: Path) -> None:
    manifest = json.loads((built / "manifest.json").read_text())
    for source in SOURCES:
        for split in SPLITS:
            counts = manifest["counts"][source][split]
            rows = [r for r in iter_rows(built, "pairs", split) if r["source"] == source]
            for task in ("common_object", "common_parts", "unique_parts"):
                assert counts[task] == sum(row["task"] == task for row in rows)
            images = [r for r in iter_rows(built, "images", split) if r["source"] == source]
            assert counts["images"] == len(images)
    assert sum(c[t] for s in manifest["counts"].values() for c in s.values() for t in c if "_" in t
               ) == 900  # fmt: skip


def test_a_smaller_share_is_divided_evenly(native_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "few"
    build(BuildConfig(sources=SOURCES, root=native_root, out=out, samples=180), Silent())
    rows = list(iter_rows(out, "pairs", "train"))
    cells = Counter((row["source"], row["task"]) for row in rows)
    assert len(cells) == 9
    assert max(cells.values()) - min(cells.values()) <= 1


@pytest.mark.skipif(not REAL_SAMPLES.is_dir(), reason="the real samples are not on this machine")
def test_real_slices_equal_an_independent_computation(tmp_path: Path) -> None:
    root = tmp_path / "real"
    root.mkdir()
    (root / "PartImageNet").symlink_to(
        REAL_SAMPLES / "partimagenet_spin2" / "DERIVED" / "partimagenet_native_mini"
    )
    (root / "ADE20KPart234").symlink_to(
        REAL_SAMPLES / "ade20k_full" / "DERIVED" / "ADE20KPart234_mini"
    )
    out = tmp_path / "out"
    manifest = build(
        BuildConfig(sources=("partimagenet", "ade20k"), root=root, out=out, min_object_area=0.0005),
        Silent(),
    )
    assert manifest["synthetic"] is False
    images = oracle.partimagenet(root) | oracle.ade20k(root)
    compared = Counter[str]()
    for row in all_rows(out):
        compared[row["source"]] += oracle.check_row(row, images)
    assert compared["partimagenet"] > 100
    assert compared["ade20k"] >= 2


def test_reference_images_hold_paths_and_no_bytes(native_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "reference"
    build(
        BuildConfig(sources=("ade20k",), root=native_root, out=out, images="reference", samples=60),
        Silent(),
    )
    for row in iter_rows(out, "images"):
        assert row["image"]["bytes"] is None
        assert Path(row["image"]["path"]).is_absolute()
        assert Path(row["image"]["path"]).is_file()


def test_another_configuration_is_refused_and_named(native_root: Path, tmp_path: Path) -> None:
    first = BuildConfig(sources=("paco",), root=native_root, out=tmp_path / "o", samples=50)
    build(first, Silent())
    other = BuildConfig(sources=("paco",), root=native_root, out=tmp_path / "o", samples=60)
    with pytest.raises(UsageError, match=r"configuration\.samples: 50 -> 60"):
        build(other, Silent())
    manifest = build(other, Silent(), overwrite=True)
    assert manifest["configuration"]["samples"] == 60


def test_a_folder_that_is_no_build_is_left_alone(native_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / "thesis.txt").write_text("irreplaceable")
    config = BuildConfig(sources=("paco",), root=native_root, out=out)
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="contains no build"):
            build(config, Silent(), overwrite=overwrite)
    assert (out / "thesis.txt").read_text() == "irreplaceable"


def test_nothing_to_pair_is_an_input_error(native_root: Path, tmp_path: Path) -> None:
    config = BuildConfig(
        sources=("paco",), root=native_root, out=tmp_path / "o", min_object_area=1.0
    )
    with pytest.raises(InputError, match="no pair of comparable objects"):
        build(config, Silent())
    assert not (tmp_path / "o" / "manifest.json").exists()


def test_faults_of_a_configuration_are_told_together() -> None:
    with pytest.raises(UsageError) as caught:
        BuildConfig(sources=("paco", "paco"), samples=0, workers=0, images="copy")
    for word in ("twice", "samples", "workers", "images"):
        assert word in str(caught.value)


def test_an_image_of_two_splits_counts_for_the_first(native_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "src"
    for name in ("paco", "coco"):
        shutil.copytree(native_root / name, root / name)
    folder = root / "paco" / "annotations"
    shutil.copy(folder / "paco_lvis_v1_train.json", folder / "paco_lvis_v1_test.json")
    out = tmp_path / "o"
    manifest = build(BuildConfig(sources=("paco",), root=root, out=out, samples=200), Silent())
    train = {row["image_id"] for row in iter_rows(out, "images", "train")}
    assert manifest["counts"]["paco"]["test"]["images"] == 0
    assert manifest["rejects"]["duplicate_id"] >= len(train) > 0
    rejects = pq.read_table(out / "rejects.parquet").to_pylist()
    assert {row["split"] for row in rejects if row["reason"] == "duplicate_id"} == {"test"}


def test_ade_validation_is_divided_or_doubled(native_root: Path, tmp_path: Path) -> None:
    held = {}
    for variant in ("hash", "official"):
        out = tmp_path / variant
        config = BuildConfig(
            sources=("ade20k",), root=native_root, out=out, samples=10**5, ade20k_test=variant
        )
        build(config, Silent())
        held[variant] = [
            {row["image_id"] for row in iter_rows(out, "images", split)}
            for split in ("validation", "test")
        ]
    assert not held["hash"][0] & held["hash"][1]
    assert held["official"][0] == held["official"][1]
    assert held["hash"][0] | held["hash"][1] <= held["official"][0]


def test_the_manifest_names_its_inputs(built: Path, native_root: Path) -> None:
    manifest = json.loads((built / "manifest.json").read_text())
    found = {(item["source"], item["path"]): item for item in manifest["inputs"]}
    file = native_root / "paco" / "annotations" / "paco_lvis_v1_val.json"
    item = found["paco", "paco/annotations/paco_lvis_v1_val.json"]
    assert item["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert item["of"] == "bytes"
    assert found["ade20k", "ADE20KPart234/images/training"]["of"] == "listing"
