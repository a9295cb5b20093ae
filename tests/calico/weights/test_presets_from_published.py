"""The presets at full size with the values of the published config.json files, without memory."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from calico.config.calico import CalicoConfig
from calico.config.presets import preset
from calico.weights.agreement import agree
from calico.weights.initial import on_meta, weight_shapes
from calico.weights.matching import WeightSource, match, reconcile
from calico.weights.published.segment_anything import check_native_sams
from tests.calico.weights.test_layouts import IDS, ROWS
from tests.factories import published_weights as published

State = dict[str, Tensor]
_EVA = {
    "hidden_size": 1408,
    "intermediate_size": 6144,
    "num_hidden_layers": 39,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-06,
    "qkv_bias": True,
}
_QFORMER = {
    "vocab_size": 30523,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "cross_attention_frequency": 2,
    "encoder_hidden_size": 1408,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
}
_VICUNA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "rope_scaling": None,
}
_DINO = {"num_attention_heads": 12, "layer_norm_eps": 1e-6, "hidden_act": "gelu", "patch_size": 14}
CONFIGS: dict[str, dict[str, Any]] = {
    "instructblip-vicuna-7b": {
        "model_type": "instructblip",
        "vision_config": _EVA,
        "qformer_config": _QFORMER,
        "text_config": _VICUNA | {"rms_norm_eps": 1e-6, "max_position_embeddings": 2048},
    },
    "GLaMM": _VICUNA | {"model_type": "llava", "rms_norm_eps": 1e-5},
    "vicuna-7b-v1.5": _VICUNA | {"rms_norm_eps": 1e-5, "max_position_embeddings": 4096},
    "dinov2-base": _DINO | {"model_type": "dinov2"},
    "dinov2-with-registers-base": _DINO | {"model_type": "dinov2_with_registers"},
    "blip2-opt-2.7b": {
        "model_type": "blip-2",
        "vision_config": _EVA,
        "qformer_config": _QFORMER | {"vocab_size": 30522},
        "text_config": {"model_type": "opt", "num_attention_heads": 32},
    },
    "Qwen2.5-1.5B-Instruct": {
        "model_type": "qwen2",
        "hidden_act": "silu",
        "max_position_embeddings": 32768,
        "max_window_layers": 21,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "sliding_window": 32768,
        "tie_word_embeddings": True,
        "use_sliding_window": False,
    },
    "sam-vit-base": {
        "model_type": "sam",
        "vision_config": {
            "num_attention_heads": 12,
            "window_size": 14,
            "global_attn_indexes": [2, 5, 8, 11],
            "layer_norm_eps": 1e-6,
            "hidden_act": "gelu",
        },
        "mask_decoder_config": {"num_attention_heads": 8, "hidden_act": "relu"},
    },
    "sam_vit_h_4b8939.pth": {},
}


def tensors(name: str, config: CalicoConfig) -> State:
    """Return the tensors of a published model on the meta device."""
    registers = 4 if "with-registers" in name else 0
    dino = replace(config, semantic=replace(config.semantic, registers=registers))
    with torch.device("meta"):
        if name == "instructblip-vicuna-7b":
            return dict(published.instructblip(config, ROWS).state_dict())
        if name == "GLaMM":
            return published.glamm(config, ROWS)
        if name == "blip2-opt-2.7b":
            return dict(published.blip2(config).state_dict())
        if name.startswith("vicuna"):
            return dict(published.llama(config, 32000).state_dict())
        if name.startswith("Qwen"):
            return published.qwen2(config, 151936)
        if name.startswith("sam_"):
            return dict(published.segment_anything(config.sam).state_dict())
        if name.startswith("sam-"):
            return dict(published.sam(config).state_dict())
        return dict(published.dinov2(dino).state_dict())


@pytest.mark.parametrize(
    ("name", "sources", "trained", "values"),
    [
        (
            "7b",
            "instructblip-vicuna-7b dinov2-base GLaMM",
            False,
            {"norm_eps": 1e-5, "rope_theta": 10000.0, "registers": 0},
        ),
        (
            "7b",
            "vicuna-7b-v1.5 sam_vit_h_4b8939.pth dinov2-with-registers-base instructblip-vicuna-7b",
            True,
            {"norm_eps": 1e-6, "rope_theta": 10000.0, "registers": 4},
        ),
        (
            "7b",
            "instructblip-vicuna-7b dinov2-base vicuna-7b-v1.5 sam_vit_h_4b8939.pth",
            True,
            {"norm_eps": 1e-5, "rope_theta": 10000.0, "registers": 0},
        ),
        (
            "2b",
            "blip2-opt-2.7b Qwen2.5-1.5B-Instruct dinov2-with-registers-base sam-vit-base",
            True,
            {"norm_eps": 1e-6, "rope_theta": 1e6, "registers": 4},
        ),
    ],
)
def test_a_preset_starts_with_the_published_values(
    name: str, sources: str, trained: bool, values: dict[str, float], tmp_path: Path
) -> None:
    config = preset(name)
    config = replace(config, trained=replace(config.trained, seg_projection=trained))
    states, files = [], []
    for source in sources.split():
        folder = tmp_path / source
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(CONFIGS[source]))
        states.append(WeightSource(source, tensors(source, config)))
        files.append(SimpleNamespace(place=folder))
    found = match(states)
    check_native_sams(found, config.sam)
    agreed = agree(config, found, files).config  # type: ignore[arg-type]
    language = agreed.language
    assert (language.norm_eps, language.rope_theta) == (values["norm_eps"], values["rope_theta"])
    assert agreed.semantic.registers == values["registers"]
    fresh = reconcile(found, weight_shapes(on_meta(agreed, IDS)), agreed)
    parts = {".".join(one.split(".")[:2]) for one in fresh}
    expected = {"correspondence.extraction", "correspondence.adaptive"}
    expected |= {"grounding.projection"} if trained else set()
    assert parts == expected | ({"bridge.projection"} if name == "2b" else set())
