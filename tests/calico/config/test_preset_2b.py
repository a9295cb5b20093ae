"""The preset for one ordinary GPU: its sizes, its prompt, and a start from published layouts."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    Blip2Config,
    Blip2QFormerModel,
    Blip2VisionModel,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    SamConfig,
    SamModel,
    SamVisionConfig,
)

from calico.config.presets import preset
from calico.cost.fitting import CARDS, fit_step, usable
from calico.cost.skeleton import parts, skeleton
from calico.cost.workload import Workload
from calico.model.language import build_language_model
from calico.processing.prompts import PromptEncoder

WIDTH, LAYERS, ROWS = 1536, 28, 151936


def elements(module: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def published() -> dict[str, int]:
    """Return the sizes of the published models, by transformers' own classes and defaults."""
    with torch.device("meta"):
        qwen = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(
                "qwen2", vocab_size=ROWS, hidden_size=WIDTH, intermediate_size=8960,
                num_hidden_layers=LAYERS, num_attention_heads=12, num_key_value_heads=2,
                tie_word_embeddings=True,
            )
        )  # fmt: skip
        blip = Blip2Config()  # of blip2-opt-2.7b
        sam = SamModel(SamConfig(vision_config=SamVisionConfig().to_dict()))
        dino = Dinov2WithRegistersModel(Dinov2WithRegistersConfig(image_size=518, patch_size=14))
        return {
            "language model": elements(qwen),
            "global encoder (EVA-CLIP)": elements(Blip2VisionModel(blip.vision_config)),
            "Q-Former": elements(Blip2QFormerModel(blip.qformer_config)),
            "semantic encoder (DINOv2)": elements(dino),
            "SAM image encoder": elements(sam.vision_encoder),
            "SAM mask decoder": elements(sam.mask_decoder),
        }


class TestCounts:
    def test_every_part_has_the_size_of_its_published_model(self) -> None:
        listed = {part.name: (part.count, part.trained) for part in parts(skeleton(preset("2b")))}
        sizes = published()
        assert sizes["language model"] == 1_543_714_304
        assert sizes["SAM image encoder"] == 89_670_912
        lora = LAYERS * (8 * (WIDTH + WIDTH) + 8 * (WIDTH + 256))
        cam = WIDTH * 768 + 768 + 768 * WIDTH + WIDTH
        seg = WIDTH * WIDTH + WIDTH + WIDTH * 256 + 256
        assert listed == {
            "global encoder (EVA-CLIP)": (sizes["global encoder (EVA-CLIP)"], 0),
            "semantic encoder (DINOv2)": (sizes["semantic encoder (DINOv2)"], 0),
            "SAM image encoder": (sizes["SAM image encoder"], 0),
            "Q-Former": (sizes["Q-Former"], 0),
            "queries": (24_576, 24_576),
            "projection to the language model": (768 * WIDTH + WIDTH,) * 2,
            "language model": (sizes["language model"], 0),
            "language model's adapters": (lora, lora),
            "CEM": (6_133_248, 6_133_248),
            "CAMs": (2 * cam, 2 * cam),
            "[SEG] projection": (seg, seg),
            "SAM prompt encoder": (6_476, 0),
            "SAM mask decoder": (sizes["SAM mask decoder"],) * 2,
        }
        assert sum(trained for _, trained in listed.values()) == 19_964_388
        assert sum(count for count, _ in listed.values()) == 2_831_029_552

    def test_rows_of_new_tokens_are_trained_once_for_both_ends_of_a_tied_model(self) -> None:
        config = replace(preset("2b").language, vocabulary=40, layers=1)
        with torch.device("meta"):
            model = build_language_model(config, (37, 38, 39))
        rows = {
            id(one): one.numel()
            for name, one in model.named_parameters()
            if "trainable_tokens" in name and one.requires_grad
        }
        assert sum(rows.values()) == 3 * WIDTH


class TestMemory:
    def test_a_step_fits_a_card_of_16_gb_in_bf16(self) -> None:
        config = preset("2b")
        assert config.execution.precision == "bf16"
        assert config.execution.quantization == "none"
        (fit,) = fit_step(config, Workload.of(config), [usable(CARDS["16 GB"])])
        assert fit.micro_batch >= 1
        assert fit.needed < 14.4e9 < 16e9


class TestPrompt:
    def test_it_is_the_chat_form_of_the_language_model(self) -> None:
        chosen = preset("2b").prompt
        encoder = PromptEncoder(_Words(), chosen, 2)
        (sample,) = encoder.conversations([[("Which?", "A mug."), ("And parts?", "A lid.")]], 2)
        text = "".join(sample.tokens)
        # Qwen2.5-Instruct's own template, rendered by hand for two turns.
        lead = text[text.index("The <image>") : text.index("pictures.") + 9]
        assert text == (
            "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful"
            " assistant.<|im_end|>\n"
            f"<|im_start|>user\n{lead}\nWhich?<|im_end|>\n"
            "<|im_start|>assistant\nA mug.<|im_end|>\n"
            "<|im_start|>user\nAnd parts?<|im_end|>\n"
            "<|im_start|>assistant\nA lid.<|im_end|>"
        )


class _Words:
    """A tokenizer whose tokens are characters."""

    bos_token_id, pad_token_id, eos_token_id = None, " ", "<|im_end|>"

    def __call__(self, texts: list[str], **_: object) -> object:
        return SimpleNamespace(input_ids=[list(text) for text in texts])


def test_it_is_listed_with_the_others() -> None:
    with pytest.raises(Exception, match="no preset"):
        preset("3b")
    assert preset("2b").correspondence.layers == (9, 18)
