"""Broken records in the annotation files of a bundle: each has its reason, no pair is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mixedparts.interchange.bundle_import.importing import ImportRequest, import_bundle
from mixedparts.progress import Silent
from tests.factories.bundle import HEIGHT, WIDTH, write_bundle, write_json
from tests.factories.faults import ANNOTATION_CASES, IMAGE_CASES, edit_json, run_length_cases
from tests.oracles.build_tables import iter_rows

FILES = {
    "paco": ("sources/paco/annotations/paco_lvis_v1_train.json",
             "paco_lvis/annotations/paco_lvis_v1_train.json"),
    "objects": 2 * ("PartImageNet/annotations/train_whole/train_mixed_parts.json",),
    "parts": 2 * ("PartImageNet/annotations/train/train_mixed_parts.json",),
    "ade20k": 2 * ("ADE20KPart234/ade20k_instance_val_mixed_parts.json",),
}  # fmt: skip
FIRST = 100_000


def load(root: Path, out: str) -> tuple[list[Any], list[dict[str, Any]]]:
    """Return pairs and rejects of the bundle below a folder."""
    import_bundle(ImportRequest(root / "Part_Segm", root / "sources", root / out), Silent())
    pairs = [row for split in ("train", "test") for row in iter_rows(root / out, "pairs", split)]
    return pairs, pq.read_table(root / out / "rejects.parquet").to_pylist()


def file_of(root: Path, name: str) -> Path:
    place = FILES[name][0]
    return root / place if place.startswith("sources") else root / "Part_Segm" / place


@pytest.mark.parametrize("name", FILES)
def test_broken_annotations(tmp_path: Path, name: str) -> None:
    write_bundle(tmp_path)
    good, rejects = load(tmp_path, "good")
    assert rejects == []
    wanted: dict[str, tuple[str, str]] = {}

    def add(content: dict[str, Any]) -> None:
        records = content["annotations"]
        model = records[-1]
        for number, case in enumerate([*ANNOTATION_CASES, *run_length_cases(WIDTH, HEIGHT)]):
            record_id = str(FIRST + number) if case.has_id else str(len(records))
            wanted[record_id] = case.name, str(case.reason)
            broken = model | {"id": FIRST + number}
            if "obj_ann_id" in model:
                broken["obj_ann_id"] = FIRST + number
            records.append(case.change(broken))

    edit_json(file_of(tmp_path, name), add)
    pairs, rejects = load(tmp_path, "broken")
    assert pairs == good
    found = {row["record_id"]: row for row in rejects if row["level"] in ("object", "part", "file")}
    for record_id, (case_name, reason) in wanted.items():
        assert found[record_id]["reason"] == reason, case_name
        assert found[record_id]["file"] == FILES[name][1]
    assert len([r for r in rejects if r["level"] in ("object", "part")]) == len(wanted)


def test_broken_images(tmp_path: Path) -> None:
    """Each broken image is named by a pair, so that nobody passes it over."""
    bundle, _ = write_bundle(tmp_path)
    good, _ = load(tmp_path, "good")
    wanted: dict[str, tuple[str, str]] = {}
    records = json.loads((bundle / "mixed_parts_train.json").read_text())

    def add(content: dict[str, Any]) -> None:
        for number, case in enumerate(IMAGE_CASES, FIRST):
            images = content["images"]
            record_id = str(number) if case.has_id else str(len(images))
            wanted[record_id] = case.name, str(case.reason)
            images.append(case.change(images[1] | {"id": number}))
            common = [{"cat": "mug", "ann_ids": [[11], [1]], "visibility": [0, 0]}]
            records.append({"dataset_name": "paco_lvis", "img_ids": [11, number],
                            "is_object": True, "common": common})  # fmt: skip

    edit_json(file_of(tmp_path, "paco"), add)
    write_json(bundle / "mixed_parts_train.json", records)
    pairs, rejects = load(tmp_path, "broken")
    assert pairs == good
    found = {row["record_id"]: row["reason"] for row in rejects if row["level"] == "image"}
    for record_id, (case_name, reason) in wanted.items():
        assert found[record_id] == reason, case_name
    lost = [row for row in rejects if row["level"] == "pair"]
    assert {row["reason"] for row in lost} == {"orphan_pair"}
    assert len(lost) == len(IMAGE_CASES)
