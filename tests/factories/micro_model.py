"""A model of micro size, and builds of coloured rectangles in the schema of the tables."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from calico.config.calico import CalicoConfig
from calico.config.presets import tiny
from calico.config.yaml_io import override
from calico.model.assembly import build_model
from calico.model.calico import Calico
from calico.model.vision import ImageFeatures
from calico.processing.tokenizer import build_tokenizer, token_ids
from mixedparts.records import Task
from mixedparts.text import answers as wording
from mixedparts.text.questions import QUESTIONS

_MICRO: dict[str, Any] = {
    "name": "micro",
    "vision": {"image_size": 32, "patch_size": 8, "hidden_size": 32, "layers": 1, "heads": 2},
    "semantic": {
        "image_size": 32,
        "position_size": 32,
        "patch_size": 8,
        "hidden_size": 16,
        "layers": 1,
        "heads": 2,
    },
    "qformer": {"hidden_size": 24, "layers": 1, "heads": 2, "mlp_size": 32, "queries": 3},
    "sam": {
        "image_size": 32,
        "patch_size": 8,
        "hidden_size": 32,
        "layers": 1,
        "heads": 2,
        "mlp_size": 32,
        "global_layers": [0],
        "prompt_size": 16,
        "decoder_heads": 2,
        "decoder_mlp_size": 32,
        "iou_head_size": 8,
    },
    "language": {"hidden_size": 32, "layers": 4, "heads": 2, "mlp_size": 48},
    "correspondence": {"heads": 2, "layers": [1, 3]},
    "loss": {"text": 1.0, "presence": 0.0},
    "training": {
        "steps": 8,
        "text_share": 0.0,
        "group_by_length": True,
        "contrast": {},
        "batch_size": 3,
        "save_every": 3,
        "warmup_steps": 2,
        "log_every": 2,
        "keep": 3,
        "task_weights": {},
    },
    "pretraining": {
        "steps": 2,
        "semantic_steps": 2,
        "mask_steps": 2,
        "batch_size": 2,
        "qformer_steps": 2,
        "qformer_batch_size": 2,
        "prompted_masks": 4,
        "warmup_steps": 1,
        "carry_over": False,
    },
    "generation": {"max_new_tokens": 12, "batch_size": 4},
}


def micro_config(**changes: Any) -> CalicoConfig:
    """Return a configuration of the smallest model; `changes` are nested overrides."""
    return override(override(tiny(), _MICRO, "micro"), changes, "test")


def lora_config() -> CalicoConfig:
    """Return a configuration with dropout, so that the random state matters."""
    return micro_config(language={"tuning": "lora", "lora_dropout": 0.3})


def micro_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer that knows all wordings and the words of `write_build`."""
    texts = [text for texts in QUESTIONS.values() for text in texts]
    answers = [
        wording.common_object_answer("mug"),
        wording.part_answer(Task.COMMON_PARTS, ("mug", "kettle"), [("lid", (0, 1))]),
        wording.part_answer(Task.UNIQUE_PARTS, ("mug", "mug"), [("handle", (0,)), ("lid", (1,))]),
        "Two pictures are given: these are the Pictures: ANSWER:",
    ]
    return build_tokenizer([*texts, *answers], 2)


def micro_model(seed: int = 0, **changes: Any) -> tuple[Calico, CalicoConfig]:
    """Return a model with random weights everywhere, CAMs included, and its configuration."""
    tokenizer = micro_tokenizer()
    config = micro_config(**{"language": {"vocabulary": len(tokenizer)}, **changes})
    torch.manual_seed(seed)
    return build_model(config, token_ids(tokenizer, config.prompt.max_images)), config


def random_cams(model: Calico, seed: int = 1) -> None:
    """Give the CAMs weights that matter; they start at zero."""
    torch.manual_seed(seed)
    assert model.correspondence is not None
    for weight in model.correspondence.adaptive.parameters():
        torch.nn.init.normal_(weight, std=0.5)


def random_features(images: int, config: CalicoConfig, seed: int = 0) -> ImageFeatures:
    """Return features of that many images."""
    noise = torch.Generator().manual_seed(seed)
    grid = config.vision.image_size // config.vision.patch_size
    sam = config.sam.image_size // config.sam.patch_size
    return ImageFeatures(
        torch.randn(images, grid * grid + 1, config.vision.hidden_size, generator=noise),
        torch.randn(images, grid * grid, config.semantic.hidden_size, generator=noise),
        torch.randn(images, config.sam.prompt_size, sam, sam, generator=noise),
    )
