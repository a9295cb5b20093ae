"""Models with random weights to be timed, and pairs of pictures for a step of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from calico.checkpoints.save_load import trained_weights
from calico.config.calico import CalicoConfig
from calico.config.presets import seven_b, tiny
from calico.config.yaml_io import override
from calico.model.calico import Calico
from calico.model.inputs import PromptBatch, TokenIds, TrainingBatch
from calico.model.language import tune
from calico.model.original_masks import OriginalMasks
from calico.model.precision import arithmetic, storage_dtype, store
from calico.model.quantized import quantize_linears
from calico.model.vision import ImageFeatures
from calico.optim.optimizer import Updater, build_updater
from calico.processing.feature_encoder import FeatureEncoder, FeatureRequest, image_request
from calico.processing.images import ImageProcessor
from calico.processing.prompts import PromptEncoder, prompt_words
from calico.processing.tokenizer import build_tokenizer, token_ids
from calico.weights.initial import model_from_weights, on_meta
from mixedparts.records import Task
from mixedparts.text import answers as wording
from mixedparts.text.questions import QUESTIONS

_PICTURE = 768, 1024  # rows and columns
SAM_B: dict[str, Any] = {
    "image_size": 1024,
    "hidden_size": 768,
    "layers": 12,
    "heads": 12,
    "mlp_size": 3072,
    "global_layers": [2, 5, 8, 11],
    "window": 14,
    "prompt_size": 256,
    "decoder_heads": 8,
    "decoder_mlp_size": 2048,
    "iou_head_size": 256,
    "stem": "patch",
}
MEDIUM: dict[str, Any] = {
    "vision": {"image_size": 224, "patch_size": 14, "hidden_size": 512, "layers": 8, "heads": 8,
               "mlp_size": 2048, "stem": "patch"},
    "semantic": {"image_size": 224, "position_size": 224, "patch_size": 14, "hidden_size": 384,
                 "layers": 8, "heads": 6, "stem": "patch"},
    "qformer": {"hidden_size": 384, "layers": 4, "heads": 6, "mlp_size": 1536, "queries": 32},
    "sam": {**SAM_B, "image_size": 512, "hidden_size": 384, "layers": 6, "heads": 6,
            "mlp_size": 1536, "global_layers": [2, 5]},
    "language": {"hidden_size": 512, "layers": 10, "heads": 8, "mlp_size": 1376},
    "correspondence": {"layers": [3, 7], "heads": 8},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Subject:
    """A model with everything that a step on some pairs needs.

    Attributes:
        pictures: the two of every pair.
        pairs: samples of a step; all show the same pictures.
    """

    model: Calico
    config: CalicoConfig
    prompts: PromptEncoder
    processor: ImageProcessor
    updater: Updater
    pictures: list[FeatureRequest]
    pairs: int

    def encode(self) -> ImageFeatures:
        """Return the features of the pictures of all pairs, without a cache."""
        encoder = FeatureEncoder(self.model.encoders, self.processor, self.config.execution)
        return encoder.encode(self.pictures * self.pairs)

    def batch(self, features: ImageFeatures) -> TrainingBatch:
        """Return a training batch of all pairs."""
        question = wording.question(Task.COMMON_OBJECT, 0)
        sample = self.prompts.sample(question, wording.common_object_answer("mug"), 2)
        tokens, answer = self.prompts.collate([sample] * self.pairs)
        count, grid = 2 * self.pairs, self.processor.grid_size
        masks = torch.zeros(count, grid, grid)
        masks[:, : grid // 2] = 1
        originals = None
        if self.config.loss.resolution == "original":
            half = np.zeros(_PICTURE, np.uint8)
            half[: _PICTURE[0] // 2] = 1
            inner = [self.processor.inner_size(*_PICTURE)] * count
            originals = OriginalMasks.of([half] * count, inner, self.processor.square_size)
            masks = torch.zeros(count, 0, 0)
        made = TrainingBatch(
            tokens,
            answer,
            features,
            images=2,
            masks=masks,
            mask_image=torch.arange(count),  # one mask an image
            extents=torch.full((count, 2), grid),
            questions=(question,) * self.pairs,
            originals=originals,
        )
        return made.to(self.model.device)

    def asked(self) -> PromptBatch:
        """Return a question about every pair."""
        question = wording.question(Task.COMMON_PARTS, 0)
        return self.prompts.batch([question] * self.pairs, 2).to(self.model.device)

    def loss(self, features: ImageFeatures) -> Tensor:
        """Run forward."""
        with arithmetic(self.config.execution, self.model.device):
            total: Tensor = self.model(self.batch(features)).total
        return total

    def update(self) -> None:
        """Take the optimiser's step."""
        self.updater.step(self.config.training.clip)

    def step(self, encoder: FeatureEncoder) -> None:
        """Take a whole training step."""
        self.loss(encoder.encode(self.pictures * self.pairs)).backward()  # type: ignore[no-untyped-call]
        self.update()


def small_subject(changes: dict[str, Any], device: torch.device, pairs: int = 1) -> Subject:
    """Return the tiny model with changes, every trained weight trained, in fp32."""
    tokenizer = _tokenizer(tiny())
    language = {**changes.get("language", {}), "vocabulary": len(tokenizer)}
    never = {"carry_over": False}  # nothing is pretrained, encoders may be of any shape
    changes = {**changes, "language": language, "pretraining": never}
    return subject(override(tiny(), changes, "benchmark"), device, pairs)


def large_subject(device: torch.device, pairs: int) -> Subject:
    """Return the paper's model as its preset has it: bf16, LoRA, activation checkpointing."""
    # Markers around images are tokens of a vocabulary that is not at hand.
    return subject(override(seven_b(), {"prompt": {"image_markers": False}}, ""), device, pairs)


def subject(config: CalicoConfig, device: torch.device, pairs: int) -> Subject:
    """Build a model with random weights on a device, and two pictures of 1024 x 768."""
    tokenizer = _tokenizer(config)
    torch.manual_seed(0)
    model = random_model(config, token_ids(tokenizer, 2), device).train()
    chosen = replace(config.training, optimizer="adamw")
    updater = build_updater(trained_weights(model), 1e-4, chosen)
    processor = ImageProcessor(config)
    rng = np.random.default_rng(0)
    shown = [Image.fromarray(rng.integers(0, 255, (*_PICTURE, 3), np.uint8)) for _ in range(2)]
    prompts = PromptEncoder(tokenizer, config.prompt, config.image_tokens)
    wanted = [image_request(picture, processor) for picture in shown]
    return Subject(model, config, prompts, processor, updater, wanted, pairs)


def random_model(config: CalicoConfig, ids: TokenIds, device: torch.device) -> Calico:
    """Build a model around random weights that are drawn on its device, in the type they keep.

    Drawn here in fp32 first, the 7B model would take 34 GB of memory that is not needed.
    """
    weights: dict[str, Tensor] = {}
    empty = on_meta(config, ids)
    known = dict(empty.named_parameters())
    for name, like in empty.state_dict().items():
        value = torch.empty_like(like, device=device)
        if name in known:
            kept = storage_dtype(name, known[name].requires_grad, config.execution)
            value = value.to(kept)
        if like.ndim > 1:
            weights[name] = value.normal_(std=0.02)
        else:  # norms, with their statistics and biases
            weights[name] = value.fill_(name.endswith(("weight", "running_var")))
    model = model_from_weights(config, ids, weights, Path("random weights"))
    quantize_linears(model.language, config.execution.quantization)
    tune(model.language, config.language, ids.new)
    return store(model, config.execution).to(device)


def _tokenizer(config: CalicoConfig) -> PreTrainedTokenizerBase:
    """Return one that knows the words of prompts and of one answer."""
    asked = [text for texts in QUESTIONS.values() for text in texts]
    answer = wording.common_object_answer("mug")
    return build_tokenizer([*asked, prompt_words(config.prompt), answer], 2)
