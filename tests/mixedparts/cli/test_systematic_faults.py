"""Faults of a whole source are noticed: a level over the limit, cells without samples, no train."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.dry_run import dry_run
from mixedparts.progress import Silent
from tests.factories.ade20k import write_ade20k
from tests.factories.bundle import write_bundle
from tests.factories.faults import edit_json
from tests.factories.paco import write_paco

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Content = dict[str, Any]
PACO_TRAIN = "paco/annotations/paco_lvis_v1_train.json"
MAPS = "ADE20KPart234/annotations_detectron2_part/training"


def build(run: Run, *words: object) -> subprocess.CompletedProcess[str]:
    return run("build", "--out", "out", "--quiet", "--workers", 1, *words)


def warnings_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stderr
    start = "warning: "
    return [line[len(start) :] for line in done.stdout.splitlines() if line.startswith(start)]


@pytest.fixture
def without_maps(tmp_path: Path) -> Path:
    """PACO as it should be, and ADE20K whose part maps of train are all gone."""
    root = tmp_path / "sources"
    write_paco(root, {"train": 16, "test": 4})
    write_ade20k(root, 6, 8)
    for path in (root / MAPS).iterdir():
        path.unlink()
    return root


def test_part_maps_that_are_all_unusable_stop_the_build(
    without_maps: Path, tmp_path: Path, run_mixedparts: Run
) -> None:
    words = ("--sources", "ade20k", "paco", "--root", without_maps)
    done = build(run_mixedparts, *words)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: too many records of a level were rejected, more than --max-rejects 50% allows:",
        "  ade20k train: 6 of 6 segmentation maps were rejected (100.0%; missing_part_map: 6)",
        "    for example ADE20KPart234/ade20k_instance_train.json, image ADE_train_00000001:"
        " no file ADE_train_00000001.png",
        "They are listed in out/_build/rejects.parquet (docs/rejects.md explains the reasons).",
        "Look whether the source folders are the right ones, or accept the rejects with"
        " --max-rejects 100%; the same command then continues from here.",
    ]
    dry = build(run_mixedparts, *words, "--dry-run")
    assert dry.returncode == 1
    assert "error: the build would fail: too many records of a level" in dry.stderr
    assert "ade20k train: 6 of 6 segmentation maps" in dry.stderr
    cause = (
        "ade20k train: no common_parts, unique_parts samples:"
        " 6 of 6 part maps unusable (missing_part_map)"
    )
    accepted = build(run_mixedparts, *words, "--max-rejects", "100%")
    assert warnings_of(accepted) == [cause]
    assert accepted.stdout.splitlines()[-1] == "next: calico-train --dataset out"
    again = json.loads(build(run_mixedparts, *words, "--json").stdout)
    assert again["warnings"] == [
        {
            "source": "ade20k",
            "split": "train",
            "tasks": ["common_parts", "unique_parts"],
            "text": cause,
        }
    ]
    assert json.loads((tmp_path / "out/manifest.json").read_text())["warnings"] == again["warnings"]
    log = [json.loads(line) for line in (tmp_path / "out/_build/log.jsonl").open()]
    assert [line["text"] for line in log if line["event"] == "warning"] == [cause]
    objects = build(run_mixedparts, *words, "--out", "objects", "--tasks", "common_object",
                    "--max-rejects", "100%")  # fmt: skip
    assert warnings_of(objects) == [
        "ade20k train: 6 of 6 segmentation maps were rejected (100.0%; missing_part_map: 6)"
    ]


def test_stray_rejects_stop_nothing(tmp_path: Path, run_mixedparts: Run) -> None:
    root = tmp_path / "sources"
    write_paco(root, {"train": 8, "validation": 2, "test": 4})
    write_ade20k(root, 6, 8)
    sorted((root / MAPS).iterdir())[0].unlink()
    # One of the two images of a small split is no system, and neither is its only map.
    content = json.loads((root / "paco/annotations/paco_lvis_v1_val.json").read_text())
    (root / "coco" / content["images"][0]["file_name"]).unlink()
    done = build(run_mixedparts, "--sources", "ade20k", "paco", "--root", root)
    lines = warnings_of(done)
    assert {line.split(":")[0] for line in lines} == {"paco validation"}
    assert all("only 1 image with" in line for line in lines)


def _images(content: Content) -> None:
    for image in content["images"][1:]:
        image["width"] = 0


def _objects(content: Content) -> None:
    for note in content["annotations"]:
        if note["obj_ann_id"] == note["id"]:
            note["segmentation"] = []


def _parts(content: Content) -> None:
    for note in content["annotations"]:
        if note["obj_ann_id"] != note["id"]:
            note["obj_ann_id"] = 10**9


def _polygons(content: Content) -> None:
    for note in content["annotations"]:
        if note["obj_ann_id"] == note["id"]:
            note["segmentation"] += [[1, 1, 2, 2]] * 6


def _categories(content: Content) -> None:
    content["categories"] += [{"id": [number], "name": "x"} for number in range(200)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_images, "paco train: 7 of 8 images were rejected (87.5%; malformed_record: 7)"),
        (_objects, " objects were rejected (100.0%; missing_mask: "),
        (_parts, " parts were rejected (100.0%; orphan_part: "),
        (_polygons, " polygons were rejected ("),
        (_categories, "paco train: 200 of 2"),
    ],
)
def test_the_limit_holds_for_each_level_of_record(
    tmp_path: Path, run_mixedparts: Run, change: Callable[[Content], None], words: str
) -> None:
    root = tmp_path / "sources"
    write_paco(root, {"train": 8, "validation": 24})
    edit_json(root / PACO_TRAIN, change)
    done = build(run_mixedparts, "--sources", "paco", "--root", root)
    assert done.returncode == 1
    assert "too many records of a level were rejected" in done.stderr
    assert words in done.stderr
    assert f"for example {PACO_TRAIN}, " in done.stderr
    assert "paco validation" not in done.stderr


def test_a_split_that_cannot_be_paired_says_why(tmp_path: Path, run_mixedparts: Run) -> None:
    root = tmp_path / "sources"
    write_paco(root, {"train": 8, "validation": 4, "test": 4})
    words = ("--sources", "paco", "--root", root)

    def keep_one(content: Content) -> None:
        del content["images"][1:]

    def without_parts(content: Content) -> None:
        notes = content["annotations"]
        content["annotations"] = [note for note in notes if note["obj_ann_id"] == note["id"]]

    validation, test = (
        root / f"paco/annotations/paco_lvis_v1_{name}.json" for name in ("val", "test")
    )
    edit_json(validation, keep_one)
    edit_json(test, without_parts)
    done = build(run_mixedparts, *words, "--max-rejects", "100%")
    one = "only 1 image with"
    assert [line for line in warnings_of(done) if "samples" in line] == [
        f"paco validation: no common_object samples: {one} an object of at least"
        " --min-object-area, 2 are needed",
        f"paco validation: no common_parts, unique_parts samples: {one} a part of at least"
        " --min-part-area, 2 are needed",
        "paco test: no common_parts, unique_parts samples: no object shows a part of at least"
        " --min-part-area",
    ]
    few = build(run_mixedparts, *words, "--out", "few", "--max-rejects", "100%", "--samples", 1)
    assert any("--samples or --per-image-limit leaves no sample" in w for w in warnings_of(few))


def test_without_train_the_next_command_is_no_training(tmp_path: Path, run_mixedparts: Run) -> None:
    root = tmp_path / "sources"
    write_paco(root, {"validation": 6, "test": 6})
    words = ("--sources", "paco", "--root", root)
    text = (
        "no train samples, so nothing can be trained on this build:"
        " no source has a train split here"
    )
    done = build(run_mixedparts, *words)
    assert warnings_of(done) == [text]
    last = done.stdout.splitlines()[-1]
    assert last == "next: calico-eval --dataset out --split benchmark --checkpoint DIR"
    assert warnings_of(build(run_mixedparts, *words, "--dry-run")) == [text]
    shutil.rmtree(root)
    write_paco(root, {"validation": 6})
    only = build(run_mixedparts, *words, "--overwrite")
    last = only.stdout.splitlines()[-1]
    assert last == "next: calico-eval --dataset out --split validation --checkpoint DIR"


def test_a_build_without_any_sample_says_so_with_the_causes(
    tmp_path: Path, run_mixedparts: Run
) -> None:
    root = tmp_path / "sources"
    write_paco(root, {"train": 6})
    for path in (root / "coco/train2017").iterdir():
        path.unlink()
    done = build(run_mixedparts, "--sources", "paco", "--root", root, "--max-rejects", "100%")
    assert done.returncode == 3
    assert (
        "no pair of comparable objects is left after reading, so there is no dataset" in done.stderr
    )
    assert (
        "paco train: no common_object, common_parts, unique_parts samples:"
        " 6 of 6 images were rejected (100.0%; missing_image: 6)"
    ) in done.stderr
    write_paco(root, {"train": 6})
    words = ("--sources", "paco", "--root", root, "--out", "small")
    small = build(run_mixedparts, *words, "--min-object-area", "1.0")
    assert small.returncode == 3
    assert "objects are below --min-object-area or left out" in small.stderr


def test_an_import_warns_of_what_is_lost(tmp_path: Path, run_mixedparts: Run) -> None:
    folder, sources = write_bundle(tmp_path)
    base = ("import", "--format", "published", folder, "--root", sources, "--workers", 1, "--quiet")
    whole = run_mixedparts(*base, "--out", "whole")
    assert warnings_of(whole) == []
    for path in sources.rglob("annotations_detectron2_part/validation/*.png"):
        path.unlink()
    lost = run_mixedparts(*base, "--out", "lost")
    assert warnings_of(lost)[0] == (
        "ade20k test: no common_parts, unique_parts samples:"
        " 2 of 2 part maps unusable (missing_part_map)"
    )
    refused = run_mixedparts(*base, "--out", "refused", "--max-rejects", "50%")
    assert refused.returncode == 1
    assert "ade20k test: 2 of 2 segmentation maps were rejected" in refused.stderr
    test = run_mixedparts(*base, "--out", "test", "--split", "test")
    assert any("no train samples" in line for line in warnings_of(test))
    assert test.stdout.splitlines()[-1].startswith("next: calico-eval --dataset test --split ")


def test_a_dry_run_has_the_warnings_among_its_values(without_maps: Path, tmp_path: Path) -> None:
    config = BuildConfig(
        sources=("ade20k",), root=without_maps, out=tmp_path / "o", max_rejects="100%"
    )
    values = dry_run(config, Silent()).report.values
    assert [(item["source"], item["split"], item["tasks"]) for item in values["warnings"]] == [
        ("ade20k", "train", ["common_parts", "unique_parts"])
    ]
