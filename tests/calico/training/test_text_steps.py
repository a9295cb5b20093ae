"""First steps without masks: what they train and log; a resumed run has them too."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from calico.dataset.pairs import BuiltDataset
from calico.pretraining.pretrain import pretrain
from calico.training.train import RunSettings, train
from calico.training.trainer import Trainer
from mixedparts.progress import Silent
from tests.factories.micro_batches import ANSWER, training_batch
from tests.factories.micro_model import micro_config, micro_model


@pytest.mark.parametrize("resolution", ["decoder", "original"])
def test_a_batch_of_text_trains_no_mask_decoder(resolution: str) -> None:
    changes: dict[str, Any] = {
        "loss": {"resolution": resolution},
        "training": {"optimizer": "adamw", "warmup_steps": 0},
    }
    model, config = micro_model(seed=3, **changes)
    trainer = Trainer(model, config, Accelerator(cpu=True))
    whole = training_batch(config, (ANSWER, ANSWER), seed=1)
    text = replace(
        whole,
        masks=whole.masks[:0],
        mask_image=whole.mask_image[:0],
        originals=None,
        text_only=True,
    )
    before = {name: one.detach().clone() for name, one in trainer.weights.items()}
    expected = model(whole).text.item()
    losses = trainer.step(0, [text])
    assert losses["text"] == pytest.approx(expected, rel=1e-5)
    assert losses["mask"] == losses["dice"] == 0
    assert losses["total"] == pytest.approx(config.loss.text * expected, rel=1e-5)
    changed = {name for name, one in trainer.weights.items() if not torch.equal(before[name], one)}
    assert any(name.startswith("language.") for name in changed)
    assert not any(name.startswith("grounding.") for name in changed)


def run(built: Path, encoders: Path, output: Path, stop: int | None = None) -> list[dict[str, Any]]:
    config = micro_config(
        loss={"presence": 0.5},
        training={
            "steps": 4,
            "text_share": 0.5,
            "batch_size": 4,
            "log_every": 1,
            "save_every": 1,
            "contrast": {"unique_parts": 1.0},
        },
    )
    settings = RunSettings(output, encoders, resume=True, max_steps=stop)
    train(config, BuiltDataset(built), settings, Silent())
    lines = (output / "train.log.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if "total" in line]


def test_a_run_starts_with_them_and_a_resumed_one_has_the_same_losses(
    built: Path, tmp_path: Path
) -> None:
    encoders = pretrain(micro_config(), BuiltDataset(built), tmp_path / "encoders", Silent())
    whole = run(built, encoders, tmp_path / "whole")
    assert [line["mask"] > 0 for line in whole] == [False, False, True, True]
    assert all(line["text"] > 0 and line["presence"] > 0 for line in whole)
    run(built, encoders, tmp_path / "stopped", stop=1)
    resumed = run(built, encoders, tmp_path / "stopped")
    for name in ("total", "text", "mask", "dice", "presence", "norm"):
        assert [line[name] for line in resumed] == [line[name] for line in whole], name
