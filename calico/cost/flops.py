"""Floating-point operations of a forward pass, counted by torch on tensors without memory.

A multiply-add counts as two. The same counter counts CALICO and the layouts it is compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from calico.config.calico import CalicoConfig
from calico.cost.skeleton import skeleton
from calico.model.calico import Calico
from calico.model.correspondence import AdaptiveModule
from calico.model.projector import Question
from calico.model.vision import ImageFeatures


@dataclass(frozen=True, slots=True)
class Workload:
    """What is counted: one sample, its answer known (a training forward) or generated.

    Attributes:
        images: of the sample.
        text: tokens of prompt and answer together, without those of images.
        answer: tokens of the answer, part of `text`; each needs a row of logits.
        masks: [SEG] of the answer.
        question: tokens of the question as a Q-Former that sees it reads it.
    """

    images: int = 2
    text: int = 128
    answer: int = 64
    masks: int = 6
    question: int = 24


def counted(run: Callable[[], object]) -> int:
    """Return the operations of a call."""
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def meta(*shape: int) -> Tensor:
    """Return a tensor of that shape without memory."""
    return torch.empty(*shape, device="meta")


def calico_flops(config: CalicoConfig, workload: Workload) -> dict[str, int]:
    """Return the operations of each part of a forward pass over one sample."""
    return dict(_calico_flops(config, workload))


@lru_cache(maxsize=8)
def _calico_flops(config: CalicoConfig, workload: Workload) -> Mapping[str, int]:
    model = skeleton(config)
    images, side = workload.images, config.sam.image_size // config.sam.patch_size
    pixels = meta(images, 3, config.vision.image_size, config.vision.image_size)
    fine = meta(images, 3, config.semantic.image_size, config.semantic.image_size)
    square = meta(images, 3, config.sam.image_size, config.sam.image_size)
    features = meta_features(config, images)
    length = workload.text + images * config.image_tokens
    found = {"global encoder (EVA-CLIP)": counted(lambda: model.encoders.vision(pixels))}
    if model.encoders.semantic is not None:
        found["semantic encoder (DINOv2)"] = counted(lambda: model.encoders.encode_semantic(fine))
    found["SAM image encoder"] = counted(lambda: model.encoders.sam(square))
    found["Q-Former and projection"] = counted(
        lambda: model.bridge(features.vision, meta_question(config, workload, images))
    )
    found |= _correspondence(model, config, workload, features, length)
    found["language model"] = counted(lambda: speak(model.language, workload.answer, length))
    embeddings = meta(images, config.sam.prompt_size, side, side)
    states = meta(workload.masks, config.language.hidden_size)
    where = torch.zeros(workload.masks, dtype=torch.int64, device="meta")
    found["[SEG] projection and SAM mask decoder"] = counted(
        lambda: model.grounding(states, embeddings, where)
    )
    return found


def meta_features(config: CalicoConfig, images: int) -> ImageFeatures:
    """Return the features of images without memory."""
    side = config.sam.image_size // config.sam.patch_size
    grid = (config.semantic.image_size // config.semantic.patch_size) ** 2
    width = config.semantic.hidden_size if config.uses_semantic else 0
    tokens = grid + config.semantic.class_token if config.uses_semantic else 0
    return ImageFeatures(
        meta(images, 1 + config.vision.patches, config.vision.hidden_size),
        meta(images, tokens, width),
        meta(images, config.sam.prompt_size, side, side),
    )


def meta_question(config: CalicoConfig, workload: Workload, images: int) -> Question | None:
    """Return what a Q-Former that sees the question reads for images, without memory."""
    if not config.qformer.sees_question:
        return None
    shape = (images, workload.question)
    return Question(torch.zeros(shape, dtype=torch.int64, device="meta"), None)


def speak(
    model: PreTrainedModel, answer: int, length: int, embedded: Tensor | None = None
) -> Tensor:
    """Run a language model over samples of `length` tokens, with logits for their answers.

    Args:
        model: on the meta device.
        answer: tokens of an answer.
        length: of a sample.
        embedded: (B, T, D) of the samples; one sample by default.
    """
    if embedded is None:
        embedded = meta(1, length, model.config.hidden_size)
    # A mask that is given is not looked into, which tensors without numbers would not bear.
    mask = torch.empty(1, 1, length, length, dtype=torch.bool, device="meta")
    states = model.model(inputs_embeds=embedded, attention_mask=mask, use_cache=False)
    logits: Tensor = model.lm_head(states.last_hidden_state[:, -answer:])
    return logits


def _correspondence(
    model: Calico, config: CalicoConfig, workload: Workload, features: ImageFeatures, length: int
) -> dict[str, int]:
    """Return the operations of CEM and of all CAMs, each with its run of the Q-Former."""
    modules = model.correspondence
    if modules is None:
        return {}
    places = torch.zeros(1, workload.images * config.image_tokens, dtype=torch.int64, device="meta")
    last = torch.zeros(1, dtype=torch.int64, device="meta")
    question = meta_question(config, workload, workload.images)
    prefill = modules.prepare(features, places, last, workload.images, question)
    hidden = meta(1, length, config.language.hidden_size)

    def all_cams() -> None:
        for module in modules.adaptive:
            assert isinstance(module, AdaptiveModule)
            modules.update(module, model.bridge, hidden, prefill)

    found = {}
    if modules.extraction is not None:
        found["CEM"] = counted(lambda: modules.prepare(features, places, last, workload.images))
    found["CAMs, with the Q-Former again"] = counted(all_cams)
    return found
