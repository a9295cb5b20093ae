"""Floating-point operations of a forward pass, counted by torch on the meta device.

Tensors on the meta device have shapes but no memory, so a 7B model is counted in seconds. A
multiply-add counts as two operations. CALICO and its peers are counted alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from calico.config.calico import CalicoConfig
from calico.cost.skeleton import skeleton
from calico.cost.workload import Workload, feature_shapes
from calico.model.calico import Calico
from calico.model.correspondence import AdaptiveModule
from calico.model.projector import Question
from calico.model.vision import ImageFeatures


def count_flops(run: Callable[[], object]) -> int:
    """Return the number of operations of a call."""
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def meta_tensor(*shape: int) -> Tensor:
    """Return a float tensor of that shape on the meta device."""
    return torch.empty(*shape, device="meta")


def calico_flops(config: CalicoConfig, workload: Workload) -> dict[str, int]:
    """Return the operations of each part of a forward pass over one sample."""
    # A copy: the cached mapping must not change.
    return dict(_calico_flops(config, workload))


@lru_cache(maxsize=8)
def _calico_flops(config: CalicoConfig, workload: Workload) -> Mapping[str, int]:
    # Part by part and not one call of the whole model: it selects states by token ids, and tensors
    # on the meta device have no values to select by.
    model = skeleton(config)
    images, side = workload.images, config.sam.image_size // config.sam.patch_size
    pixels = meta_tensor(images, 3, config.vision.image_size, config.vision.image_size)
    fine = meta_tensor(images, 3, config.semantic.image_size, config.semantic.image_size)
    square = meta_tensor(images, 3, config.sam.image_size, config.sam.image_size)
    features = meta_features(config, images)
    length = workload.text + images * config.image_tokens
    counts = {"global encoder (EVA-CLIP)": count_flops(lambda: model.encoders.vision(pixels))}
    if model.encoders.semantic is not None:
        counts["semantic encoder (DINOv2)"] = count_flops(
            lambda: model.encoders.encode_semantic(fine)
        )
    counts["SAM image encoder"] = count_flops(lambda: model.encoders.sam(square))
    counts["Q-Former and projection"] = count_flops(
        lambda: model.bridge(features.vision, meta_question(config, workload, images))
    )
    counts |= _correspondence(model, config, workload, features, length)
    counts["language model"] = count_flops(
        lambda: run_language_model(model.language, workload.answer, length)
    )
    embeddings = meta_tensor(images, config.sam.prompt_size, side, side)
    states = meta_tensor(workload.masks, config.language.hidden_size)
    where = torch.zeros(workload.masks, dtype=torch.int64, device="meta")
    counts["[SEG] projection and SAM mask decoder"] = count_flops(
        lambda: model.grounding(states, embeddings, where)
    )
    return counts


def meta_features(config: CalicoConfig, images: int) -> ImageFeatures:
    """Return the features of a number of images on the meta device."""
    return ImageFeatures(*(meta_tensor(*shape) for shape in feature_shapes(config, images)))


def meta_question(config: CalicoConfig, workload: Workload, images: int) -> Question | None:
    """Return the question of each image on the meta device.

    Args:
        config: of the model.
        workload: has the length of the question.
        images: number of images.

    Returns:
        The question; None where the Q-Former does not see it.
    """
    if not config.qformer.sees_question:
        return None
    shape = (images, workload.question)
    return Question(torch.zeros(shape, dtype=torch.int64, device="meta"), None)


def run_language_model(
    model: PreTrainedModel, answer: int, length: int, embedded: Tensor | None = None
) -> Tensor:
    """Run a language model over samples on the meta device, with logits for their answers.

    Args:
        model: on the meta device.
        answer: tokens of an answer.
        length: T, tokens of a sample.
        embedded: (B, T, D) embeddings of the samples; one sample by default.

    Returns:
        (B, answer, vocabulary) logits.
    """
    if embedded is None:
        embedded = meta_tensor(1, length, model.config.hidden_size)
    # Without a mask transformers would look at values to make one, which meta tensors do not have.
    mask = torch.empty(1, 1, length, length, dtype=torch.bool, device="meta")
    states = model.model(inputs_embeds=embedded, attention_mask=mask, use_cache=False)
    logits: Tensor = model.lm_head(states.last_hidden_state[:, -answer:])
    return logits


def _correspondence(
    model: Calico, config: CalicoConfig, workload: Workload, features: ImageFeatures, length: int
) -> dict[str, int]:
    """Return the operations of CEM and of all CAMs; a CAM runs the Q-Former once more."""
    modules = model.correspondence
    if modules is None:
        return {}
    # Positions have no influence on the counts.
    places = torch.zeros(1, workload.images * config.image_tokens, dtype=torch.int64, device="meta")
    last = torch.zeros(1, dtype=torch.int64, device="meta")
    question = meta_question(config, workload, workload.images)
    prefill = modules.prepare(features, places, last, workload.images, question)
    hidden = meta_tensor(1, length, config.language.hidden_size)

    def all_cams() -> None:
        for module in modules.adaptive:
            assert isinstance(module, AdaptiveModule)
            modules.update(module, model.bridge, hidden, prefill)

    counts = {}
    if modules.extraction is not None:
        counts["CEM"] = count_flops(
            lambda: modules.prepare(features, places, last, workload.images)
        )
    counts["CAMs, with the Q-Former again"] = count_flops(all_cams)
    return counts
