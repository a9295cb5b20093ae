"""Runs that start from published weights, and what their checkpoints hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from calico.checkpoints.save_load import load_checkpoint
from calico.config.presets import seven_b
from calico.dataset.pairs import BuiltDataset
from calico.training.train import RunSettings, train
from mixedparts.errors import InputError, UsageError
from mixedparts.progress import Silent
from tests.factories import published_weights as published


class TestRuns:
    def test_a_run_keeps_trained_weights_only_and_finds_the_rest_again(
        self, parts: Any, dataset: BuiltDataset, tmp_path: Path
    ) -> None:
        config, _, paths = parts
        settings = RunSettings(tmp_path / "run", init=tuple(paths), max_steps=2)
        with_bf16 = replace(config, execution=replace(config.execution, precision="bf16"))
        first = train(with_bf16, dataset, settings, Silent())
        assert not (first / "frozen.safetensors").exists()
        saved = load_file(first / "model.safetensors")
        model, loaded, tokenizer = load_checkpoint(tmp_path / "run")
        trained = {n for n, w in model.named_parameters() if w.requires_grad}
        assert set(saved) == trained
        assert loaded.language.vocabulary == len(tokenizer)
        assert all(torch.equal(saved[n], w) for n, w in model.named_parameters() if n in saved)
        settings = replace(settings, resume=True, max_steps=4)
        last = train(with_bf16, dataset, settings, Silent())
        assert last.name == "checkpoint-000004"
        whole = RunSettings(tmp_path / "whole", init=tuple(paths), max_steps=4)
        straight = load_file(train(with_bf16, dataset, whole, Silent()) / "model.safetensors")
        resumed = load_file(last / "model.safetensors")
        assert all(torch.equal(value, straight[name]) for name, value in resumed.items())

    def test_frozen_weights_that_are_gone_or_changed_are_named(
        self, parts: Any, dataset: BuiltDataset, tmp_path: Path
    ) -> None:
        config, _, paths = parts
        settings = RunSettings(tmp_path / "run", init=tuple(paths), max_steps=1)
        train(config, dataset, settings, Silent())
        torch.save(published.segment_anything(config.sam).state_dict(), paths[2])
        with pytest.raises(InputError, match="other weights"):
            load_checkpoint(tmp_path / "run")
        paths[2].unlink()
        with pytest.raises(InputError, match=r"sam_vit_h\.pth, which is not there"):
            load_checkpoint(tmp_path / "run")

    def test_the_7b_preset_without_weights_says_what_to_give(
        self, dataset: BuiltDataset, tmp_path: Path
    ) -> None:
        with pytest.raises(UsageError, match="published weights") as raised:
            train(seven_b(), dataset, RunSettings(tmp_path / "run"), Silent())
        assert "--init" in str(raised.value.hint)
