"""What a run does between its steps: evaluations, the best checkpoint, averages, rates, curves."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from calico.checkpoints.save_load import find_checkpoint
from calico.config.calico import CalicoConfig
from calico.dataset.pairs import BuiltDataset
from calico.training.curves import draw_curves, read_log
from calico.training.train import RunSettings, train
from mixedparts.errors import EnvironmentFault
from mixedparts.progress import Silent
from tests.factories.micro_model import micro_config


def trained(place: Path, name: str, config: CalicoConfig) -> Path:
    settings = RunSettings(place / name, place / "encoders", device="cpu")
    return train(config, BuiltDataset(place / "build"), settings, Silent())


@pytest.fixture(scope="module")
def output(place: Path) -> Path:
    """A run that was evaluated every second step; do not write here."""
    changes = {"eval_every": 2, "eval_samples": 3, "save_every": 3, "keep": 1, "log_every": 1}
    return trained(place, "evaluated", micro_config(training=changes)).parent


class TestEvaluation:
    def test_the_log_has_every_task(self, output: Path) -> None:
        lines = [one for one in read_log(output / "train.log.jsonl") if one["stage"] != "train"]
        assert [one["step"] for one in lines] == [2, 4, 6, 8]
        assert all({"overall", "common_parts"} <= one.keys() for one in lines)
        assert all(0 <= one["overall"]["miou_strict"] <= 1 for one in lines)

    def test_the_best_and_the_last_checkpoint_are_kept(self, output: Path) -> None:
        best = json.loads((output / "best.json").read_text())
        lines = [one for one in read_log(output / "train.log.jsonl") if one["stage"] != "train"]
        values = [one["overall"]["miou_strict"] for one in lines]
        assert best["value"] == max(values)
        step = lines[values.index(max(values))]["step"]  # the first of equal ones
        assert best["checkpoint"] == f"checkpoint-{step:06d}"
        kept = {path.name for path in output.glob("checkpoint-*")}
        assert kept == {best["checkpoint"], "checkpoint-000008"}
        assert find_checkpoint(output / "best").name == best["checkpoint"]
        assert find_checkpoint(output).name == "checkpoint-000008"

    def test_evaluating_does_not_change_what_is_learnt(self, place: Path, output: Path) -> None:
        plain = trained(place, "plain", micro_config(training={"log_every": 1}))
        ours = load_file(output / "checkpoint-000008" / "model.safetensors")
        theirs = load_file(plain / "model.safetensors")
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)

    def test_curves_are_drawn(self, output: Path) -> None:
        with Image.open(output / "curves.png") as picture:
            assert picture.width > picture.height > 300

    def test_curves_begin_with_pretraining_where_there_was_one(
        self, output: Path, tmp_path: Path
    ) -> None:
        shutil.copy(output / "train.log.jsonl", tmp_path)
        draw_curves(tmp_path, Silent())
        with Image.open(tmp_path / "curves.png") as picture:
            plain = picture.width
        lines = [
            {"stage": stage, "step": step, name: 1 / step, "norm": 1.0, "seconds": step}
            for stage, name in (("global encoder", "cells"), ("Q-Former", "labels"))
            for step in (1, 2, 3)
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / "encoders.log.jsonl").write_text(text)
        draw_curves(tmp_path, Silent())
        with Image.open(tmp_path / "curves.png") as picture:
            assert picture.width == plain * 3 // 2  # three panels instead of two


class TestAverage:
    def test_what_is_saved_is_the_average_of_all_steps(self, place: Path) -> None:
        decay = 0.75
        steps = {"save_every": 1, "keep": 9, "log_every": 1}
        plain = trained(place, "steps", micro_config(training=steps))
        found = trained(place, "ema", micro_config(training={**steps, "ema": decay}))
        first = load_file(place / "ema" / "checkpoint-000001" / "training.safetensors")
        saved = load_file(found / "model.safetensors")
        name = "bridge.queries"
        walk = [
            load_file(plain.parent / f"checkpoint-{step:06d}" / "model.safetensors")[name]
            for step in range(1, 9)
        ]
        assert torch.equal(first[f"{name}/raw"], walk[0])
        after_one = load_file(place / "ema" / "checkpoint-000001" / "model.safetensors")[name]
        average = after_one
        for weight in walk[1:]:
            average = decay * average + (1 - decay) * weight
        torch.testing.assert_close(saved[name], average, rtol=1e-5, atol=1e-7)
        assert not torch.equal(saved[name], walk[-1])


class TestTrackers:
    def test_one_that_is_not_installed_is_one_message(
        self, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "wandb", None)
        monkeypatch.setattr("calico.runtime.distributed.find_spec", lambda name: None)
        settings = RunSettings(place / "tracked", place / "encoders", report_to=("wandb",))
        with pytest.raises(EnvironmentFault, match="wandb is not installed"):
            train(micro_config(), BuiltDataset(place / "build"), settings, Silent())

    def test_tensorboard_gets_losses_and_metrics(self, place: Path) -> None:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        settings = RunSettings(place / "board", place / "encoders", report_to=("tensorboard",))
        changes = {"eval_every": 8, "eval_samples": 3, "log_every": 1}
        train(micro_config(training=changes), BuiltDataset(place / "build"), settings, Silent())
        folder = next((place / "board").rglob("events.out.tfevents.*")).parent
        events = EventAccumulator(str(folder)).Reload()
        assert len(events.Scalars("total")) == 8
        assert read_log(place / "board" / "train.log.jsonl")[-1]["total"] == pytest.approx(
            events.Scalars("total")[-1].value
        )
        assert len(events.Scalars("overall/miou_strict")) == 1
