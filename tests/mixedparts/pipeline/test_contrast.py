"""Builds with `--contrast`: the share, the counts in the manifest, verification, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mixedparts.errors import UsageError
from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.progress import Silent
from mixedparts.records import Task
from mixedparts.storage.build_folder import BuildFolder
from mixedparts.verification.deep import deep_tasks, run_deep
from mixedparts.verification.findings import Rule
from mixedparts.verification.pairs import check_across_shards
from mixedparts.verification.verify import verify
from tests.conftest import SOURCES
from tests.oracles.build_tables import iter_rows, read_manifest

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def config(synthetic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> BuildConfig:
    return BuildConfig(
        sources=SOURCES,
        root=synthetic_root,
        out=tmp_path_factory.mktemp("contrast") / "build",
        samples=600,
        contrast=0.5,
    )


@pytest.fixture(scope="module")
def contrasting(config: BuildConfig) -> Path:
    build(config, Silent())
    return config.out


def by_image(row: dict[str, Any], image: int) -> tuple[Any, ...]:
    """Key, answer and partner of one image of a row, by the definition in docs/selection.md."""
    own, partner = (row["images"][at]["row"] for at in (image, 1 - image))
    classes = [item["category"] for item in row["objects"]]
    if row["task"] == Task.COMMON_OBJECT:
        return (own,), classes[image], partner
    parts = frozenset(part["name"] for part in row["parts"] if part["image"] == image)
    return (own, classes[image], classes[1 - image]), parts, partner


def counted(out: Path, split: str) -> dict[str, dict[str, int]]:
    """Count the contrasting rows of each source and task by comparing all of them."""
    cells: dict[tuple[str, str], list[list[tuple[Any, ...]]]] = {}
    shown: dict[int, set[str]] = {}
    for item in iter_rows(out, "entities", split):
        shown.setdefault(item["row"], set()).add(item["category"])
    for row in iter_rows(out, "pairs", split):
        one, two = (shown[image["row"]] for image in row["images"])
        alone = not (len(one & two) == 1 and one - two and two - one)
        if row["task"] == Task.COMMON_OBJECT and alone:
            continue
        sides = [by_image(row, image) for image in range(2)]
        cells.setdefault((row["source"], row["task"]), []).append(sides)
    found: dict[str, dict[str, int]] = {}
    for (source, task), rows in cells.items():
        number = sum(
            any(a[0] == b[0] and a[1] != b[1] and a[2] != b[2] for o in rows for a in r for b in o)
            for r in rows
        )
        found.setdefault(source, {})[task] = number
    return found


def test_the_manifest_counts_what_contrasts(contrasting: Path) -> None:
    manifest = read_manifest(contrasting)
    assert manifest["configuration"]["contrast"] == 0.5
    short = {(w["source"], task) for w in manifest["warnings"] for task in w["tasks"]}
    for split in SPLITS:
        found = counted(contrasting, split)
        for source, tasks in manifest["selection"][split].items():
            for task, numbers in tasks.items():
                rows = manifest["counts"][source][split][task]
                assert numbers["contrasted"] == found.get(source, {}).get(task, 0)
                assert numbers["contrasted"] >= 0.5 * rows or (source, task) in short
    # Images of PartImageNet have one object each, so no image has two answers about objects.
    assert ("partimagenet", "common_object") in short
    assert not verify(contrasting, "deep").total
    assert "asked that 50 % of the samples" in (contrasting / "README.md").read_text()


def test_without_it_nothing_is_counted_and_ids_stay(
    config: BuildConfig, tmp_path: Path, contrasting: Path
) -> None:
    plain = replace(config, contrast=0.0)
    assert "contrast" not in plain.identity()
    assert config.identity()["contrast"] == 0.5
    build(replace(plain, out=tmp_path / "plain"), Silent())
    manifest = read_manifest(tmp_path / "plain")
    assert "contrast" not in manifest["configuration"]
    numbers = manifest["selection"]["train"]["paco"]["unique_parts"]
    assert set(numbers) == {"image_limit", "class_pairs"}
    assert "contrast" not in (tmp_path / "plain" / "README.md").read_text()
    # Fewer samples contrast by themselves.
    here, there = (
        sum(number for tasks in counted(out, "train").values() for number in tasks.values())
        for out in (contrasting, tmp_path / "plain")
    )
    assert here > there


def test_a_wrong_count_is_found(contrasting: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = BuildFolder.open(contrasting)
    tasks = [task for task in deep_tasks(opened) if task.split == "train"]
    summaries = [(task.file, summary) for task in tasks if (summary := run_deep(task).summary)]
    assert not check_across_shards(opened, "train", summaries).total
    numbers = opened.manifest["selection"]["train"]["ade20k"]["common_parts"]
    right = numbers["contrasted"]
    monkeypatch.setitem(numbers, "contrasted", right + 1)
    found = check_across_shards(opened, "train", summaries)
    assert found.counts == {Rule.CONTRAST: 1}
    assert str(found.listed[0]) == (
        "pairs/train-*.parquet ade20k common_parts: "
        f"{right} samples contrast with another one, the manifest has {right + 1} [contrast]"
    )


def test_three_images_are_refused(config: BuildConfig) -> None:
    with pytest.raises(UsageError, match="contrast needs samples of two images"):
        replace(config, images_per_sample=3)
    with pytest.raises(UsageError, match="contrast: expected float <= 1"):
        replace(config, contrast=1.5)


def test_the_command_has_the_option(run_mixedparts: Callable[..., Any]) -> None:
    done = run_mixedparts("build", "--sources", "paco", "--contrast", "2")
    assert done.returncode == 2
    assert "contrast" in done.stderr
    done = run_mixedparts(
        "build", "--sources", "paco", "--contrast", "0.5", "--images-per-sample", "3"
    )
    assert done.returncode == 2
    assert "contrast needs samples of two images" in json.dumps(done.stderr)
