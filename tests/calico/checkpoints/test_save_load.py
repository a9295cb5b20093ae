"""Checkpoints: what they hold, and damaged ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from calico.checkpoints.save_load import load_checkpoint
from mixedparts.errors import InputError


class TestCheckpoints:
    def test_the_rebuilt_model_has_the_same_weights(self, finished: Path) -> None:
        model, config, tokenizer = load_checkpoint(finished.parent)
        saved = {**load_file(finished / "model.safetensors")}
        named = dict(model.named_parameters())
        assert all(torch.equal(named[name], value) for name, value in saved.items())
        assert config.language.vocabulary == len(tokenizer)
        assert not model.training

    def test_it_holds_only_what_was_trained(self, finished: Path) -> None:
        names = load_file(finished / "model.safetensors").keys()
        assert any("lora_A" in name for name in names)
        assert not any("base_layer" in name or name.startswith("encoders") for name in names)

    def test_a_renamed_key_is_named_on_both_sides(self, finished: Path, tmp_path: Path) -> None:
        broken = copy(finished, tmp_path)
        weights = load_file(broken / "model.safetensors")
        weights["bridge.query_tokens"] = weights.pop("bridge.queries")
        save_file(weights, broken / "model.safetensors")
        with pytest.raises(InputError) as raised:
            load_checkpoint(broken)
        assert "missing: bridge.queries" in str(raised.value)
        assert "unexpected: bridge.query_tokens" in str(raised.value)

    def test_a_wrong_shape_is_named(self, finished: Path, tmp_path: Path) -> None:
        broken = copy(finished, tmp_path)
        weights = load_file(broken / "model.safetensors")
        weights["bridge.queries"] = weights["bridge.queries"][:, :2].contiguous()
        save_file(weights, broken / "model.safetensors")
        with pytest.raises(InputError, match=r"bridge\.queries is \(1, 2, 24\)"):
            load_checkpoint(broken)

    def test_a_cut_file_is_one_message(self, finished: Path, tmp_path: Path) -> None:
        broken = copy(finished, tmp_path)
        data = (broken / "model.safetensors").read_bytes()
        (broken / "model.safetensors").write_bytes(data[: len(data) // 2])
        with pytest.raises(InputError, match=r"model\.safetensors"):
            load_checkpoint(broken)

    def test_an_empty_folder_is_one_message(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no checkpoint"):
            load_checkpoint(tmp_path)


def copy(checkpoint: Path, into: Path) -> Path:
    """Return a copy of a checkpoint that a test may break."""
    broken = into / "checkpoint"
    broken.mkdir()
    for file in checkpoint.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    return broken
