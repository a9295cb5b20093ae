"""Builds of three images a sample and across sources, and the options that narrow a build."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from calico.dataset.pairs import BuiltDataset
from calico.evaluation.ground_truth import read_ground_truth
from mixedparts.errors import UsageError
from mixedparts.loading import load_dataset
from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.progress import Silent
from mixedparts.reports.statistics import collect
from mixedparts.storage.build_folder import BuildFolder
from mixedparts.verification.verify import verify
from mixedparts.viewer.build_page import PageRequest, write_build_page
from tests.conftest import SOURCES
from tests.oracles import native_files as oracle
from tests.oracles.build_tables import iter_rows
from tests.oracles.digests import digests

SPLITS = ("train", "validation", "test")
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def config(synthetic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> BuildConfig:
    """A small build of three images a sample, also across sources."""
    return BuildConfig(
        sources=SOURCES,
        root=synthetic_root,
        out=tmp_path_factory.mktemp("three") / "build",
        samples=400,
        images_per_sample=3,
        cross_source=True,
    )


@pytest.fixture(scope="module")
def three(config: BuildConfig) -> Path:
    build(config, Silent())
    return config.out


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [row for split in SPLITS for row in iter_rows(out, "pairs", split)]


def test_rows_of_three_follow_the_definitions(three: Path, synthetic_root: Path) -> None:
    images = oracle.native_images(synthetic_root)
    rows = rows_of(three)
    sources, tasks = Counter(r["source"] for r in rows), Counter(r["task"] for r in rows)
    assert len(rows) == 400
    assert {"+".join(two) for two in combinations(SOURCES, 2)} | set(SOURCES) == set(sources)
    assert min(tasks.values()) > 50
    for row in rows:
        assert oracle.check_row(row, images) >= 3
        named = [{p["name"] for p in row["parts"] if p["image"] == side} for side in range(3)]
        assert named == oracle.parts_of_row(row, images)
        assert len({ref["row"] for ref in row["images"]}) == 3
        assert ("(IMAGE3)" in row["answer"]) == any(s["image"] == 2 for s in row["objects"])
        assert not {"two", "both", "Both"} & set(row["question"].split())


def test_rows_across_sources_have_images_of_both(three: Path) -> None:
    for split in SPLITS:
        source_of = [row["source"] for row in iter_rows(three, "images", split)]
        for row in iter_rows(three, "pairs", split):
            found = {source_of[ref["row"]] for ref in row["images"]}
            assert "+".join(sorted(found)) == row["source"]


def test_all_that_reads_a_build_reads_it(three: Path, tmp_path: Path) -> None:
    assert verify(three, "deep").total == 0
    row = load_dataset(three, split="test")[0]
    assert [ref["pixels"].size for ref in row["images"]] == [
        (ref["width"], ref["height"]) for ref in row["images"]
    ]
    counted = collect(three)
    assert counted.sizes == {3: 400}
    assert any("+" in source for _, source, _ in counted.samples)
    written, _ = write_build_page(three, tmp_path / "view.html", PageRequest(limit=20))
    assert (written.samples, written.images > 3) == (20, True)
    sample = BuiltDataset(three).pairs("test")[0]
    assert len(sample.images) == 3
    assert {region.image for region in sample.targets} == {0, 1, 2}
    assert read_ground_truth(BuildFolder.open(three), "benchmark").samples
    manifest = json.loads((three / "manifest.json").read_text())
    counts = manifest["counts"]["paco+partimagenet"]
    assert sum(counts[s][t] for s in counts for t in counts[s] if "_" in t) == sum(
        row["source"] == "paco+partimagenet" for row in rows_of(three)
    )


def test_it_is_the_same_with_two_workers(three: Path, config: BuildConfig, tmp_path: Path) -> None:
    other = replace(config, out=tmp_path / "other", workers=2)
    build(other, Silent())
    assert digests(three, "log.jsonl") == digests(other.out, "log.jsonl")


def test_classes_tasks_and_limit_narrow_a_build(
    synthetic_root: Path, tmp_path: Path, run_mixedparts: Run
) -> None:
    out = tmp_path / "narrow"
    words = [
        "--sources",
        "paco",
        "--root",
        synthetic_root,
        "--out",
        out,
        "--quiet",
        "--classes",
        "dog",
        "chair",
    ]
    words += ["--tasks", "unique_parts", "common_object", "--per-image-limit", 2, "--samples", 1000]
    done = run_mixedparts("build", *words)
    assert done.returncode == 0, done.stderr
    rows = rows_of(out)
    assert {item["category"] for row in rows for item in row["objects"]} == {"chair", "dog"}
    assert {row["task"] for row in rows} == {"common_object", "unique_parts"}
    uses = Counter(
        (row["split"], row["task"], ref["image_id"]) for row in rows for ref in row["images"]
    )
    assert max(uses.values()) == 2
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["configuration"]["per_image_limit"] == 2
    assert manifest["selection"]["train"]["paco"]["unique_parts"]["image_limit"] == 2
    assert verify(out, "deep").total == 0


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"classes": ("mugg",)}, "no class 'mugg'. Did you mean 'mug'"),
        ({"classes": ("Dog", "zebra crossing")}, "no class 'Dog'. Did you mean 'dog'"),
        ({"tasks": ("common_part",)}, "no task 'common_part'. Did you mean 'common_parts'"),
        ({"images_per_sample": 5}, "images_per_sample: expected int <= 4, got 5"),
        ({"per_image_limit": 0}, "per_image_limit: expected int >= 1, got 0"),
        ({"cross_source": True}, "cross_source needs at least two sources"),
    ],
)
def test_choices_that_cannot_be_are_named(
    synthetic_root: Path, tmp_path: Path, choices: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        build(
            BuildConfig(sources=("paco",), root=synthetic_root, out=tmp_path / "o", **choices),
            Silent(),
        )
