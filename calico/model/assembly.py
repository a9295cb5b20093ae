"""Builds the whole model from a configuration, frozen and trained as it says."""

from __future__ import annotations

from dataclasses import dataclass

from calico.config import CalicoConfig
from calico.model.calico import Calico, TokenIds
from calico.model.correspondence import AdaptiveModule, Correspondence, ExtractionModule
from calico.model.grounding import MaskGrounder, SegProjection, build_sam
from calico.model.language import build_language_model
from calico.model.vision import (
    ImageEncoders,
    QueryBridge,
    build_global_encoder,
    build_qformer,
    build_semantic_encoder,
)
from mixedparts.errors import UsageError


@dataclass(frozen=True, slots=True)
class ImageParts:
    """The parts of the model that have nothing to do with language."""

    encoders: ImageEncoders
    bridge: QueryBridge
    grounding: MaskGrounder


def build_model(config: CalicoConfig, ids: TokenIds) -> Calico:
    """Build the model with fresh weights, ready to load or to train.

    Args:
        config: with the final vocabulary size.
        ids: of the tokenizer that goes with it.

    Raises:
        UsageError: the vocabulary size has not been set.
    """
    if config.language.vocabulary == 0:
        raise UsageError("language.vocabulary is 0: it is known once the tokenizer is built")
    parts = build_image_parts(config)
    model = Calico(
        encoders=parts.encoders,
        bridge=parts.bridge,
        language=build_language_model(config.language, _new_rows(ids)),
        correspondence=_build_correspondence(config),
        grounding=parts.grounding,
        ids=ids,
        loss=config.loss,
    )
    freeze(model, config)
    return model.eval()


def build_image_parts(config: CalicoConfig) -> ImageParts:
    """Build what sees and draws, with fresh weights: pretraining needs no more."""
    width = config.language.hidden_size
    sam = build_sam(config.sam)
    encoders = ImageEncoders(
        build_global_encoder(config.vision),
        build_semantic_encoder(config.semantic),
        sam.vision_encoder,
    )
    qformer = build_qformer(config.qformer, config.vision.hidden_size)
    projection = SegProjection(width, config.sam.prompt_size)
    return ImageParts(
        encoders,
        QueryBridge(qformer, config.qformer.queries, width),
        MaskGrounder(sam.prompt_encoder, sam.mask_decoder, projection),
    )


def freeze(model: Calico, config: CalicoConfig) -> None:
    """Mark what training changes; the language model was marked when it was built."""
    trained = config.trained
    model.encoders.requires_grad_(False)
    model.bridge.qformer.requires_grad_(trained.qformer)
    model.bridge.projection.requires_grad_(trained.projection)
    model.bridge.queries.requires_grad_(trained.queries)
    model.grounding.prompt_encoder.requires_grad_(False)
    model.grounding.mask_decoder.requires_grad_(trained.mask_decoder)
    model.grounding.projection.requires_grad_(trained.seg_projection)
    if model.correspondence is not None:
        model.correspondence.requires_grad_(trained.correspondence)


def _build_correspondence(config: CalicoConfig) -> Correspondence | None:
    settings = config.correspondence
    if not settings.layers:
        return None
    extraction = None
    if settings.extraction:
        extraction = ExtractionModule(
            config.vision.hidden_size,
            config.semantic.hidden_size,
            settings.heads,
            settings.residual,
        )
    adaptive = [
        AdaptiveModule(config.language.hidden_size, config.qformer.hidden_size, settings.initial)
        for _ in settings.layers
    ]
    return Correspondence(extraction, adaptive, settings.layers, settings.conditioning)


def _new_rows(ids: TokenIds) -> tuple[int, ...]:
    """Return the ids of tokens that a pretrained language model did not have."""
    single_tags = (tag[0] for tag in ids.segments.tags if len(tag) == 1)
    return tuple(sorted({ids.segments.seg, ids.image, *single_tags}))
