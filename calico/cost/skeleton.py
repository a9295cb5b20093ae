"""The model of a configuration on the meta device: all shapes, no numbers, no memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from calico.config.calico import CalicoConfig
from calico.model.assembly import build_model
from calico.model.calico import Calico
from calico.model.inputs import TokenIds
from calico.model.language import build_language_model
from calico.model.projector import QFormerProjector
from calico.model.segments import SegVocabulary

ASSUMED_VOCABULARY = 512  # rows counted where the dataset's own words decide


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the model as the tables list it: its name and its weights by name."""

    name: str
    weights: dict[str, Tensor]

    @property
    def count(self) -> int:
        """Number of values."""
        return sum(weight.numel() for weight in self.weights.values())

    @property
    def trained(self) -> int:
        """Number of values that training changes."""
        return sum(weight.numel() for weight in self.weights.values() if weight.requires_grad)


def counted_vocabulary(config: CalicoConfig) -> CalicoConfig:
    """Return the configuration with a vocabulary; one that is not known yet is assumed."""
    if config.language.vocabulary:
        return config
    return replace(config, language=replace(config.language, vocabulary=ASSUMED_VOCABULARY))


def speaker(config: CalicoConfig) -> PreTrainedModel:
    """Build the language model alone, without memory."""
    with torch.device("meta"):
        return build_language_model(counted_vocabulary(config).language)


def skeleton(config: CalicoConfig) -> Calico:
    """Build the model without memory."""
    config = counted_vocabulary(config)
    tags = tuple((5 + number,) for number in range(config.prompt.max_images))
    with torch.device("meta"):
        return build_model(config, TokenIds(0, 2, 3, SegVocabulary(4, tags)))


def parts(model: Calico) -> list[Part]:
    """Return all parts; every weight is in exactly one."""
    return [Part(name, dict(weights)) for name, weights in _named(model)]


def _named(model: Calico) -> Iterator[tuple[str, Iterator[tuple[str, Tensor]]]]:
    def of(prefix: str, module: nn.Module | None) -> Iterator[tuple[str, Tensor]]:
        for name, weight in module.named_parameters() if module is not None else ():
            yield f"{prefix}.{name}", weight

    yield "global encoder (EVA-CLIP)", of("encoders.vision", model.encoders.vision)
    if model.encoders.semantic is not None:
        yield "semantic encoder (DINOv2)", of("encoders.semantic", model.encoders.semantic)
    yield "SAM image encoder", of("encoders.sam", model.encoders.sam)
    if isinstance(model.bridge, QFormerProjector):
        yield "Q-Former", of("bridge.qformer", model.bridge.qformer)
        yield "queries", iter([("bridge.queries", model.bridge.queries)])
    yield "projection to the language model", of("bridge.projection", model.bridge.projection)
    language = list(of("language", model.language))
    adapters = [(n, w) for n, w in language if "lora_" in n or "trainable_tokens" in n]
    known = {name for name, _ in adapters}
    yield "language model", iter([(n, w) for n, w in language if n not in known])
    if adapters:
        yield "language model's adapters", iter(adapters)
    if model.correspondence is not None:
        if model.correspondence.extraction is not None:
            yield "CEM", of("correspondence.extraction", model.correspondence.extraction)
        yield "CAMs", of("correspondence.adaptive", model.correspondence.adaptive)
    yield "[SEG] projection", of("grounding.projection", model.grounding.projection)
    yield "SAM prompt encoder", of("grounding.prompt_encoder", model.grounding.prompt_encoder)
    yield "SAM mask decoder", of("grounding.mask_decoder", model.grounding.mask_decoder)
