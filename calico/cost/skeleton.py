"""The model of a configuration on the meta device: all shapes, no values, no memory."""

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

ASSUMED_VOCABULARY = 512  # rows counted where the dataset's words decide their number
# Any distinct ids will do: shapes do not depend on them. The tags follow each other.
_PAD, _END, IMAGE, SEG, FIRST_TAG, OTHER = 0, 2, 3, 4, 5, 1


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the model in the tables.

    Attributes:
        name: in the tables.
        weights: by name.
    """

    name: str
    weights: dict[str, Tensor]

    @property
    def count(self) -> int:
        """Number of values."""
        return sum(weight.numel() for weight in self.weights.values())

    @property
    def trained(self) -> int:
        """Number of trained values."""
        return sum(weight.numel() for weight in self.weights.values() if weight.requires_grad)


def counted_vocabulary(config: CalicoConfig) -> CalicoConfig:
    """Return the configuration with a vocabulary size, assumed where the dataset decides it."""
    if config.language.vocabulary:
        return config
    return replace(config, language=replace(config.language, vocabulary=ASSUMED_VOCABULARY))


def language_skeleton(config: CalicoConfig) -> PreTrainedModel:
    """Build the language model alone on the meta device."""
    with torch.device("meta"):
        return build_language_model(counted_vocabulary(config).language)


def skeleton(config: CalicoConfig) -> Calico:
    """Build the model on the meta device, without quantisation, which needs values."""
    config = counted_vocabulary(config)
    config = replace(config, execution=replace(config.execution, quantization="none"))
    tags = tuple((FIRST_TAG + number,) for number in range(config.prompt.max_images))
    with torch.device("meta"):
        return build_model(config, TokenIds(_PAD, _END, IMAGE, SegVocabulary(SEG, tags)))


def parts(model: Calico) -> list[Part]:
    """Return all parts; every weight is in exactly one of them."""
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
    # PEFT puts adapters inside the modules of the language model; their names mark them.
    adapter_names = {name for name, _ in adapters}
    yield "language model", iter([(n, w) for n, w in language if n not in adapter_names])
    if adapters:
        yield "language model's adapters", iter(adapters)
    if model.correspondence is not None:
        if model.correspondence.extraction is not None:
            yield "CEM", of("correspondence.extraction", model.correspondence.extraction)
        yield "CAMs", of("correspondence.adaptive", model.correspondence.adaptive)
    yield "[SEG] projection", of("grounding.projection", model.grounding.projection)
    yield "SAM prompt encoder", of("grounding.prompt_encoder", model.grounding.prompt_encoder)
    yield "SAM mask decoder", of("grounding.mask_decoder", model.grounding.mask_decoder)
    if model.presence is not None:
        yield "reader of the presence loss", of("presence", model.presence)
