"""Statistics are the numbers that a plain count of the rows gives, and plots show them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixedparts import masks
from mixedparts.errors import EnvironmentFault
from mixedparts.masks import Rle
from mixedparts.reports.plots import load_matplotlib
from mixedparts.reports.plots.draw import PLOTS
from mixedparts.reports.statistics import collect
from mixedparts.reports.statistics_report import as_text, values_of
from tests.oracles.build_tables import iter_rows

SPLITS = ("train", "validation", "test")
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def rows(built: Path) -> list[tuple[str, dict[str, Any]]]:
    return [(split, row) for split in SPLITS for row in iter_rows(built, "pairs", split)]


@pytest.fixture(scope="module")
def values(built: Path) -> dict[str, Any]:
    return values_of(collect(built))


def test_samples_and_names_are_counted(
    values: dict[str, Any], rows: list[tuple[str, dict[str, Any]]]
) -> None:
    samples = Counter(f"{split} / {row['source']} / {row['task']}" for split, row in rows)
    assert values["samples"] == dict(samples)
    assert values["images_per_sample"] == {"2": len(rows)}
    assert values["classes"] == Counter(o["category"] for _, row in rows for o in row["objects"])
    assert values["parts"] == Counter(part["name"] for _, row in rows for part in row["parts"])
    pairs = Counter(" + ".join(sorted(o["category"] for o in row["objects"])) for _, row in rows)
    assert values["class_pairs"] == pairs
    for counts in ("classes", "parts", "class_pairs"):
        numbers = list(values[counts].values())
        assert numbers == sorted(numbers, reverse=True)


def test_uses_of_images_and_class_pairs_are_counted(
    values: dict[str, Any], rows: list[tuple[str, dict[str, Any]]], built: Path
) -> None:
    stored = Counter(row["source"] for split in SPLITS for row in iter_rows(built, "images", split))
    for cell, told in values["image_use"].items():
        mine = [(s, row) for s, row in rows if f"{row['source']} / {row['task']}" == cell]
        uses = Counter((s, ref["image_id"]) for s, row in mine for ref in row["images"])
        low, high = np.quantile(list(uses.values()), (0.05, 0.95))
        assert (told["5%"], told["95%"]) == (round(low, 2), round(high, 2))
        assert told["95%/5%"] == round(told["95%"] / told["5%"], 2)
        assert told["images"] == len(uses)
        assert told["images"] + told["unused"] == stored[cell.split(" / ")[0]]
        classes = Counter(tuple(sorted(o["category"] for o in r["objects"])) for _, r in mine)
        assert values["class_pair_use"][cell]["class_pairs"] == len(classes)
        assert values["class_pair_use"][cell]["most"] == max(classes.values())


def test_areas_and_answers_are_measured(
    values: dict[str, Any], rows: list[tuple[str, dict[str, Any]]], built: Path
) -> None:
    shares = []
    for split in SPLITS:
        for entity in iter_rows(built, "entities", split):
            dense = masks.decode(
                Rle(entity["height"], entity["width"], entity["mask"]["counts"].encode())
            )
            shares.append(dense.mean())
    told = values["mask_share_of_image"]["object"]
    assert told["masks"] == len(shares)
    assert told["50%"] == pytest.approx(np.median(shares), abs=1e-5)
    for task, words in values["answer_words"].items():
        counted = [len(row["answer"].split()) for _, row in rows if row["task"] == task]
        assert words["mean"] == round(float(np.mean(counted)), 2)
        assert words["answers"] == len(counted)


def test_tables_stand_beside_the_papers_figures(
    built: Path, values: dict[str, Any], rows: list[tuple[str, dict[str, Any]]], run_mixedparts: Run
) -> None:
    paper = {entry["figure"]: entry for entry in values["paper"]}
    assert paper["samples"]["published"] == "~2.4M"
    assert paper["samples"]["here"] == f"{len(rows):,}"
    assert {entry["where"].split()[0] for entry in values["paper"]} == {"paper", "dataset", "2"}
    done = run_mixedparts("stats", built)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == as_text(collect(built))
    for words in ("~2.4M", "95%/5%", "Class pairs: ", "Words of an answer"):
        assert words in done.stdout


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(EnvironmentFault, match=r"mixedparts\[view\]"):
        load_matplotlib()


def test_the_command_prints_json_beside_plots(
    built: Path, tmp_path: Path, run_mixedparts: Run
) -> None:
    done = run_mixedparts(
        "stats", built, "--json", "--plots", tmp_path / "plots", "--formats", "svg"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(json.dumps(values_of(collect(built))))
    names = {path.name for path in (tmp_path / "plots").iterdir()}
    assert names == {f"{name}.svg" for name in PLOTS}
    assert done.stderr.split() == [str(tmp_path / "plots" / f"{name}.svg") for name in PLOTS]
