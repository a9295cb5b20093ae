"""`calico-eval` on a build with images: scores beside the JSON, the report, the comparison."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from pyarrow.parquet import read_metadata

import calico.evaluation
from calico.cli.evaluate import main
from calico.cli.evaluation.outputs import RANKS
from calico.evaluation.ground_truth import read_ground_truth
from calico.evaluation.summary import RATIOS
from calico.predictions.files import write_predictions
from calico.predictions.types import Prediction
from mixedparts.errors import UsageError
from mixedparts.storage.build_folder import BuildFolder
from tests.factories.micro_build import write_build

HOSTILE = '<img src=x onerror="alert(1)">$x^{قبضة'
SPLIT = "test"


def answers(build: Path, seed: int, right: float, drawn: bool) -> list[Prediction]:
    """Return answers of which so many regions are right; others misnamed, misplaced or left out.

    Args:
        build: whose samples are answered.
        seed: of the faults.
        right: share of the regions.
        drawn: the model was trained on synthetic images.
    """
    rng = np.random.default_rng(seed)
    given = []
    for sample in read_ground_truth(BuildFolder.open(build), SPLIT).samples:
        said = []
        for segment in sample.segments:
            luck = rng.random()
            if luck < right:
                said.append(segment)
            elif luck < right + 0.2:
                said.append(replace(segment, label=HOSTILE))
            elif luck < right + 0.3:
                said.append(replace(segment, mask=sample.segments[-1].mask, image=1))
        text = ", ".join(f"<p> {s.label} </p> [SEG] (IMAGE{s.image + 1})" for s in said)
        odd = int(luck < 0.3)
        given.append(Prediction(sample.id, text, tuple(said), malformed_tag=odd, synthetic=drawn))
    return given[1:]  # one sample has no prediction


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two evaluations with their tables, the report of one, and that of their comparison."""
    folder = tmp_path_factory.mktemp("runs")
    build = write_build(folder / "build", images=8, splits=("train", SPLIT), samples=24)
    other = write_build(folder / "other", images=8, splits=(SPLIT,), samples=3)
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps({**manifest, "build_id": "f" * 32}))
    for name, right in (("poor", 0.3), ("good", 0.7)):
        drawn = name == "poor"
        write_predictions(folder / f"{name}.jsonl", answers(build, 3, right, drawn))
        words = ["--dataset", build, "--split", SPLIT, "--predictions", folder / f"{name}.jsonl"]
        words += ["--json", folder / f"{name}.json", "--bootstrap", 40]
        words += ["--markdown", folder / f"{name}.md", "--baselines", "boxes", "other-image"]
        report = ["--report", folder / "poor", "--report-samples", 4] if name == "poor" else []
        assert main([*map(str, words), *map(str, report)]) == 0
    words = ["--compare", folder / "poor.json", folder / "good.json", "--bootstrap", 40]
    words += ["--dataset", build, "--report", folder / "compared", "--json", folder / "c.json"]
    assert main([*map(str, words), "--rank-by", "label_f1"]) == 0
    return folder


def test_scores_are_kept_beside_the_json(runs: Path) -> None:
    samples, regions = calico.evaluation.scores(runs / "poor.json")
    content = json.loads((runs / "poor.json").read_text())
    assert content["scores"]["folder"] == "poor.scores"
    overall = content["results"][0]["metrics"]
    for task, group in overall["tasks"].items():
        own = samples[samples["task"] == task]
        strict = own["sum_iou_strict"].sum() / own["sum_units"].sum()
        assert strict == pytest.approx(group["miou_strict"]["value"], abs=1e-6)
    assert (~samples["answered"]).sum() == 1
    assert samples["malformed_tag"].sum() == content["results"][0]["malformed_tag"]
    assert set(regions["kind"].dropna()) == {"object", "common_part", "unique_part"}
    assert set(RANKS) == set(RATIOS)


def test_baselines_have_scores_too(runs: Path, tmp_path: Path) -> None:
    content = json.loads((runs / "poor.json").read_text())
    for name in ("boxes", "other-image"):
        (result,) = (one for one in content["results"] if one["name"] == name)
        for source in (runs / "poor.json", runs / "poor.scores"):
            samples, regions = calico.evaluation.scores(source, name)
            assert len(regions) >= result["segments"] > 0
            for task, group in result["metrics"]["tasks"].items():
                value = samples.loc[samples["task"] == task, "miou_strict"].mean()
                assert value == pytest.approx(group["miou_strict"]["value"], abs=1e-6)
    boxes = calico.evaluation.scores(runs / "poor.json", "boxes").regions
    assert set(boxes["outcome"]) <= {"found", "poor_mask"}
    assert (boxes["predicted_area"] >= boxes["area"]).all()  # a box holds its mask
    with pytest.raises(UsageError, match=r"no scores of a baseline 'box'\. Did you mean 'boxes'"):
        calico.evaluation.scores(runs / "poor.json", "box")
    for damaged in (None, [], "boxes", {"boxes": 3}):
        scores = {**content["scores"], "baselines": damaged, "folder": str(runs / "poor.scores")}
        (tmp_path / "damaged.json").write_text(json.dumps({**content, "scores": scores}))
        with pytest.raises(UsageError, match="no scores of a baseline 'boxes'"):
            calico.evaluation.scores(tmp_path / "damaged.json", "boxes")
    # A later evaluation of the same folder leaves no tables of baselines that it did not score.
    shutil.copytree(runs / "poor.scores", tmp_path / "kept")
    words = [
        "--dataset",
        runs / "build",
        "--split",
        SPLIT,
        "--predictions",
        "oracle",
        "--bootstrap",
    ]
    assert main([*map(str, words), "0", "--no-baseline", "--scores", str(tmp_path / "kept")]) == 0
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [
        "regions.parquet", "samples.parquet"
    ]  # fmt: skip
    with pytest.raises(UsageError, match="no scores of a baseline 'boxes'") as raised:
        calico.evaluation.scores(tmp_path / "kept", "boxes")
    assert "--baselines" in str(raised.value.hint)


def test_all_outputs_say_that_a_model_was_trained_on_synthetic_images(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, drawn in (("poor", True), ("good", False)):
        content = json.loads((runs / f"{name}.json").read_text())
        assert content["synthetic_dataset"] is True  # the build
        assert " (synthetic images), 24 samples" in (runs / f"{name}.md").read_text()
        assert content["results"][0].get("trained_on_synthetic_images", False) is drawn
        said = f"The model of {name}.jsonl was trained on synthetic images"
        assert (said in (runs / f"{name}.md").read_text()) is drawn
        table = read_metadata(runs / f"{name}.scores" / "regions.parquet")
        origin = json.loads(table.metadata[b"calico_scores"])["predictions"]
        assert origin.get("trained_on_synthetic_images", False) is drawn
        assert (said in (runs / "compared" / "index.html").read_text()) is drawn
    assert "The model of poor.jsonl was trained on" in (runs / "poor" / "index.html").read_text()
    compared = json.loads((runs / "c.json").read_text())
    assert compared["synthetic_dataset"] is True
    assert compared["base"]["predictions"]["trained_on_synthetic_images"] is True
    assert "trained_on_synthetic_images" not in compared["compared"][0]["predictions"]
    assert main(["--compare", str(runs / "poor.json"), str(runs / "good.json"),
                 "--bootstrap", "0"]) == 0  # fmt: skip
    shown = capsys.readouterr().out
    assert "The model of poor.jsonl was trained on synthetic images" in shown
    assert "The model of good.jsonl" not in shown


def sections(page: str) -> list[str]:
    return re.findall(r"<summary>(.*?)</summary>", page)


def test_the_report_has_its_parts_and_nothing_from_elsewhere(runs: Path) -> None:
    page = (runs / "poor/index.html").read_text()
    assert {"Metrics by task and source", "Metrics by class pair", "Outcomes of regions",
            "Precision and recall of names", "Names that are mistaken for each other",
            "Odd [SEG] and unfinished answers"} <= set(sections(page))  # fmt: skip
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", page)
    assert HOSTILE not in page  # only in escaped forms
    figures = sorted(path.name for path in (runs / "poor/figures").iterdir())
    assert figures == ["area.svg", "confusion-objects.svg", "confusion-parts.svg", "metrics.svg",
                       "names.svg", "samples.svg"]  # fmt: skip
    for name in figures:
        root = ElementTree.fromstring((runs / "poor/figures" / name).read_bytes())
        assert any(element.tag.endswith("}text") for element in root.iter())


def test_the_comparison_has_differences_and_changed_samples(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads((runs / "c.json").read_text())
    poor, good = (json.loads((runs / f"{n}.json").read_text()) for n in ("poor", "good"))
    (compared,) = content["compared"]
    difference = compared["difference"]["overall"]["miou_strict"]
    values = [r["results"][0]["metrics"]["overall"]["miou_strict"]["value"] for r in (good, poor)]
    assert difference["value"] == pytest.approx(values[0] - values[1], abs=2e-6)
    assert difference["low"] <= difference["value"] <= difference["high"]
    assert compared["changed"]["metric"] == "label_f1"
    page = (runs / "compared/index.html").read_text()
    assert sections(page) == [
        "Figures", "Metrics and differences", "Samples that changed most: good.jsonl"
    ]  # fmt: skip
    assert main(["--compare", str(runs / "poor.json"), str(runs / "good.json"),
                 "--bootstrap", "0", "--full"]) == 0  # fmt: skip
    assert "common_parts, " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--compare", "poor.json"], 2, "two or more"),
        (["--compare", "poor.json", "none.json"], 3, "none.json cannot be read"),
        (["--compare", "poor.json", "poor.jsonl"], 3, "poor.jsonl"),
        (["--compare", "poor.json", "good.json", "--limit", "3"], 2, "--limit has no meaning"),
        (["--compare", "poor.json", "good.json", "--report", "r", "--dataset", "no"], 3, "no"),
        (["--compare", "poor.json", "good.json", "--device", "cuda"], 2, "--device has no meaning"),
        (["--compare", "poor.json", "good.json", "--baselines", "all"], 2, "--baselines has no"),
        (["--compare", "poor.json", "good.json", "--report", "r", "--dataset", "other"], 2,
         "other is build"),
        (["--compare", "poor.json", "good.json", "--split", "validation"], 2,
         "the evaluations are of the split test, not of validation"),
        (["--predictions", "oracle", "--dataset", "build", "--json", "x", "--markdown", "./x"], 2,
         "--json and --markdown are one file"),
        (["--predictions", "oracle", "--dataset", "build", "--report", "r", "--json",
          "r/index.html"], 2, "--json r/index.html is a file that is written to r anyway"),
        (["--predictions", "oracle", "--dataset", "build", "--json", "r.json", "--scores", "s",
          "--markdown", "s/regions.parquet"], 2, "is a file that is written to s anyway"),
        (["--predictions", "orakle", "--dataset", "build"], 3, "Did you mean 'oracle'"),
        (["--predictions", "oracle", "--dataset", "build", "--report", "r", "--scores", "r"], 2,
         "cannot be the folder of the scores and of the report"),
        (["--predictions", "oracle", "--dataset", "build", "--report", "poor.json"], 2, "a file"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_message(
    runs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    says: str,
) -> None:
    monkeypatch.chdir(runs)
    before = sorted(path.name for path in runs.iterdir())
    assert main(["--split", SPLIT, *words]) == code
    shown = capsys.readouterr()
    assert says in shown.err
    assert shown.out == ""
    assert sorted(path.name for path in runs.iterdir()) == before


def test_tables_that_were_written_again_are_not_of_the_json(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("poor", "good"):
        (tmp_path / f"{name}.json").write_bytes((runs / f"{name}.json").read_bytes())
        folder = tmp_path / f"{name}.scores"
        folder.mkdir()
        for path in (runs / "poor.scores").iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
    assert main(["--compare", str(tmp_path / "poor.json"), str(tmp_path / "good.json")]) == 3
    assert "another one was written there later" in capsys.readouterr().err


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium; without it, the test is skipped."""
    pytest.importorskip("playwright")
    from tests.factories.browser import chromium

    with chromium() as started:
        yield started


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", ["poor", "compared"])
def test_pages_in_a_browser(runs: Path, browser: Any, page: str, scheme: str) -> None:
    from tests.factories.browser import Watched, serious_faults

    watched = Watched(browser, viewport={"width": 1200, "height": 900}, color_scheme=scheme)
    watched.open(runs / page / "index.html")
    watched.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert watched.page.locator("#cards > li").count() > 3
    assert watched.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    shown = watched.page.inner_text("body")
    if page == "poor":
        assert HOSTILE in shown
        assert watched.page.locator("img[src=x]").count() == 0
        for mark in ("≠", "○", "✓"):
            assert mark in shown
    assert serious_faults(watched.page) == []
    watched.close()
