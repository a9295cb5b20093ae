"""Checkpoints that stand alone, and transformers' Auto classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoProcessor

import calico.inference.transformers_auto
from calico.checkpoints.save_load import load_checkpoint
from calico.config.presets import seven_b
from mixedparts.errors import InputError, UsageError

QUESTION = "Which object do both pictures contain?"


def picture(shade: int) -> Image.Image:
    return Image.new("RGB", (40, 30), (shade, 90, 200 - shade))


class TestAutoClasses:
    def test_model_and_processor_come_by_their_folder(self, lora_checkpoint: Path) -> None:
        config = AutoConfig.from_pretrained(str(lora_checkpoint))
        assert isinstance(config, calico.inference.transformers_auto.CalicoSettings)
        model = AutoModel.from_pretrained(str(lora_checkpoint))
        processor = AutoProcessor.from_pretrained(str(lora_checkpoint))
        assert isinstance(model, calico.inference.transformers_auto.CalicoModel)
        assert isinstance(processor, calico.inference.transformers_auto.CalicoProcessor)
        loaded, own, _ = load_checkpoint(lora_checkpoint)
        assert config.calico() == own
        mine = model.calico.state_dict()
        assert all(torch.equal(value, mine[n]) for n, value in loaded.state_dict().items())
        inputs = processor([[picture(10), picture(150)]] * 2, [QUESTION, "Which object?"])
        generated = model.generate(inputs, 5)
        assert generated.tokens.shape[0] == 2
        assert model.answer([picture(10), picture(150)], QUESTION).answer is not None

    def test_what_is_saved_again_is_the_same(self, lora_checkpoint: Path, tmp_path: Path) -> None:
        model = calico.inference.transformers_auto.CalicoModel.from_pretrained(lora_checkpoint)
        model.save_pretrained(tmp_path / "again")
        for name in ("model.safetensors", "frozen.safetensors"):
            one, other = load_file(lora_checkpoint / name), load_file(tmp_path / "again" / name)
            assert one.keys() == other.keys()
            assert all(torch.equal(value, other[key]) for key, value in one.items())
        with pytest.raises(UsageError, match="exists"):
            model.save_pretrained(tmp_path / "again")

    def test_bf16_can_be_asked_for(self, lora_checkpoint: Path) -> None:
        model = AutoModel.from_pretrained(str(lora_checkpoint), dtype=torch.bfloat16)
        weights = dict(model.calico.named_parameters())
        assert weights["language.lm_head.weight"].dtype is torch.bfloat16
        assert weights["correspondence.adaptive.0.adaptation.weight"].dtype is torch.float32
        inputs = calico.inference.transformers_auto.CalicoProcessor.from_pretrained(
            lora_checkpoint
        )([[picture(10), picture(150)]], [QUESTION])
        assert model.generate(inputs, 3).tokens.shape[0] == 1
        with pytest.raises(UsageError, match="float16"):
            AutoModel.from_pretrained(str(lora_checkpoint), dtype=torch.float16)

    def test_a_renamed_key_stops_the_loading(self, lora_checkpoint: Path) -> None:
        path = lora_checkpoint / "model.safetensors"
        weights = load_file(path)
        weights["correspondence.adaptive.0.wieght"] = weights.pop(
            "correspondence.adaptive.0.adaptation.weight"
        )
        save_file(weights, path)
        with pytest.raises(InputError, match=r"adaptive\.0\.wieght"):
            AutoModel.from_pretrained(str(lora_checkpoint))

    def test_samples_of_unequal_numbers_of_images_are_refused(self, lora_checkpoint: Path) -> None:
        processor = calico.inference.transformers_auto.CalicoProcessor.from_pretrained(
            lora_checkpoint
        )
        with pytest.raises(InputError, match="same number"):
            processor([[picture(1)], [picture(1), picture(2)]], ["a", "b"])


def test_the_7b_settings_survive_json() -> None:
    settings = calico.inference.transformers_auto.described(seven_b())
    again = calico.inference.transformers_auto.CalicoSettings.from_dict(settings.to_dict())
    assert again.calico() == seven_b()
