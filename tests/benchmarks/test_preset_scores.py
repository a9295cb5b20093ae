"""The table of a preset's scores: one column a dataset, mean and range."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import preset_scores
from calico.dataset.pairs import BuiltDataset
from calico.pretraining.pretrain import pretrain
from calico.training.train import RunSettings, train
from mixedparts.progress import Silent
from mixedparts.records import Task
from tests.factories.micro_model import micro_config


def test_the_table_has_mean_and_range() -> None:
    one = {f"{group} {task}": 0.5 for group in ("strict mIoU", "label F1") for task in Task}
    other = {name: value + 0.25 for name, value in one.items()}
    results = {"a": {**one, "choice unique_parts": 0.6}, "b": {**other, "choice unique_parts": 0.7}}
    lines = preset_scores.table(results).splitlines()
    assert lines[0] == "| | a | b | mean | range |"
    assert lines[2] == "| strict mIoU common_object | 50.0 | 75.0 | 62.5 | 25.0 |"
    assert lines[-1] == "| choice unique_parts | 60.0 | 70.0 | 65.0 | 10.0 |"
    assert len(lines) == 2 + 6 + 1  # tasks without triangles have no row


def test_a_run_is_scored(built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = micro_config(training={"steps": 1}, generation={"max_new_tokens": 8})
    encoders = pretrain(config, BuiltDataset(built), tmp_path / "encoders", Silent())
    train(config, BuiltDataset(built), RunSettings(tmp_path / "run", encoders), Silent())
    document = tmp_path / "a.md"
    arguments = [
        "--checkpoint",
        str(tmp_path / "run"),
        "--test-dataset",
        str(built),
        "--limit",
        "6",
    ]
    arguments += ["--triangles", "1", "--threads", "1", "--write", str(document)]
    assert preset_scores.main(arguments) == 0
    text = document.read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + 6 + 2
    assert "| choice unique_parts |" in text
    assert preset_scores.main([*arguments[:2], "--test-dataset", str(tmp_path)]) == 3
    assert "contains no" in capsys.readouterr().err
