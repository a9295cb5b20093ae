"""`calico-merge`: checkpoints that stand alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file

from calico.checkpoints.merge import merge_adapters
from calico.checkpoints.save_load import load_checkpoint, save_checkpoint
from calico.cli import merge as command
from calico.model.generation import generate
from calico.model.precision import arithmetic, store
from calico.processing.prompts import PromptEncoder
from calico.processing.tokenizer import token_ids
from calico.weights.initial import initial_model
from mixedparts.errors import InputError
from tests.factories.micro_model import micro_model, micro_tokenizer, random_features
from tests.factories.published_weight_files import small_parts

QUESTION = "Which object do both pictures contain?"


class TestMerge:
    def test_it_answers_as_before_and_has_no_adapters(
        self, lora_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert command.main([str(lora_checkpoint), "--out", str(tmp_path / "alone")]) == 0
        assert "stand-alone checkpoint" in capsys.readouterr().out
        before, config, tokenizer = load_checkpoint(lora_checkpoint)
        after, merged, _ = load_checkpoint(tmp_path / "alone")
        assert merged.language.tuning == "frozen"
        assert not any("lora_" in name for name, _ in after.named_parameters())
        prompts = PromptEncoder(tokenizer, config.prompt, config.image_tokens)
        batch = prompts.batch([QUESTION], 2)
        features = random_features(2, config)
        first, second = (generate(model, batch, features, 6) for model in (before, after))
        assert torch.equal(first.tokens, second.tokens)
        torch.testing.assert_close(first.predicting, second.predicting, atol=1e-5, rtol=1e-4)

    def test_published_weights_are_no_longer_needed(self, tmp_path: Path) -> None:
        config, _, paths = small_parts(tmp_path)
        execution = replace(config.execution, precision="bf16")
        start = initial_model(replace(config, execution=execution), paths)
        rows = [w for n, w in start.model.named_parameters() if "trainable_tokens" in n]
        for weight in rows:
            torch.nn.init.normal_(weight)
        facts: dict[str, Any] = {"init": start.record}
        save_checkpoint(tmp_path / "run", start.model, start.config, start.tokenizer, 3, facts)
        assert not (tmp_path / "run" / "frozen.safetensors").exists()
        assert command.main([str(tmp_path / "run"), "--out", str(tmp_path / "alone")]) == 0
        for path in paths:
            path.rename(path.with_name("gone-" + path.name))
        model, loaded, tokenizer = load_checkpoint(tmp_path / "alone")
        assert token_ids(tokenizer, 2) == start.model.ids
        assert model.encoders.sam.pos_embed.dtype is torch.bfloat16
        tokens = torch.tensor([[0, 5, model.ids.segments.seg, 6]])
        with torch.no_grad(), arithmetic(loaded.execution, torch.device("cpu")):
            torch.testing.assert_close(
                model.language(tokens).logits, start.model.language(tokens).logits
            )

    def test_merged_weights_in_bf16_are_rounded_once(self) -> None:
        """Half a step of bf16 from the sum in float64, whatever PEFT and torch do in between."""
        words = len(micro_tokenizer())
        language = {"tuning": "lora", "vocabulary": words}
        model, config = micro_model(4, language=language, execution={"precision": "bf16"})
        for name, weight in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(weight, std=0.2)
        store(model, config.execution)
        expected = {}
        for name, module in model.language.named_modules():
            if isinstance(module, LoraLayer):
                base, scale = module.get_base_layer(), module.scaling["default"]
                assert base.weight.dtype is torch.bfloat16
                up, down = (getattr(module, n)["default"].weight for n in ("lora_B", "lora_A"))
                assert up.dtype is down.dtype is torch.float32
                product = scale * up.double() @ down.double()
                expected[name] = (base.weight.double() + product).detach()
        assert len(expected) >= 8
        merge_adapters(model, config)
        weights = dict(model.language.named_parameters())
        changed = 0
        for name, exact in expected.items():
            merged = weights[f"{name}.weight"].detach()
            assert merged.dtype is torch.bfloat16
            # bf16 has 8 significant bits: rounding moves a number by at most 2^-9 of the next
            # power of two above it. Float32 may tip a tie the other way.
            step = 2.0 ** (torch.frexp(exact.abs())[1].double() - 9)
            assert ((merged.double() - exact).abs() <= step * (1 + 1e-3)).all(), name
            changed += int((merged != exact.bfloat16()).sum())
        assert changed <= 2

    def test_a_key_that_is_renamed_is_named(self, lora_checkpoint: Path, tmp_path: Path) -> None:
        assert command.main([str(lora_checkpoint), "--out", str(tmp_path / "alone")]) == 0
        path = tmp_path / "alone" / "frozen.safetensors"
        weights = load_file(path)
        weights["language.lm_head.wieght"] = weights.pop("language.lm_head.weight")
        save_file(weights, path)
        with pytest.raises(InputError) as raised:
            load_checkpoint(tmp_path / "alone")
        assert "missing: language.lm_head.weight" in str(raised.value)
        assert "unexpected: language.lm_head.wieght" in str(raised.value)

    def test_a_folder_that_exists_is_left_alone(
        self, lora_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert command.main([str(lora_checkpoint), "--out", str(tmp_path)]) == 2
        assert "exists already" in capsys.readouterr().err

    def test_too_little_room_is_one_message(
        self,
        lora_checkpoint: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        from collections import namedtuple

        usage = namedtuple("usage", "total used free")
        monkeypatch.setattr("calico.checkpoints.merge.shutil.disk_usage", lambda _: usage(9, 8, 1))
        assert command.main([str(lora_checkpoint), "--out", str(tmp_path / "alone")]) == 3
        assert "GiB free" in capsys.readouterr().err
        assert not (tmp_path / "alone").exists()
