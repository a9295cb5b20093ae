"""Builds the whole model from a configuration and marks which weights are trained."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedModel

from calico.config.calico import CalicoConfig
from calico.model.calico import Calico
from calico.model.correspondence import AdaptiveModule, Correspondence, ExtractionModule
from calico.model.grounding import MaskGrounder, SegProjection, build_sam
from calico.model.inputs import TokenIds
from calico.model.language import build_language_model
from calico.model.presence import PresenceReader
from calico.model.projector import (
    InstructedQFormerProjector,
    LinearProjector,
    Projector,
    QFormerProjector,
    build_qformer,
)
from calico.model.vision import (
    ImageEncoders,
    build_global_encoder,
    build_semantic_encoder,
    unread_tokens,
)
from mixedparts.errors import UsageError


@dataclass(frozen=True, slots=True)
class ImageParts:
    """The parts of the model without its language model; pretraining builds only these.

    Attributes:
        encoders: of single images.
        bridge: the projector, from image features to tokens.
        grounding: from [SEG] states to masks.
    """

    encoders: ImageEncoders
    bridge: Projector
    grounding: MaskGrounder


def build_model(config: CalicoConfig, ids: TokenIds) -> Calico:
    """Build the model with new random weights, ready to load or to train.

    Args:
        config: with the final vocabulary size.
        ids: of the tokenizer that goes with it.

    Returns:
        The model in evaluation mode.

    Raises:
        UsageError: the vocabulary size has not been set, or the Q-Former has too few rows for the
            words of questions.
        EnvironmentFault: weights are to be quantised, and bitsandbytes is not installed.
    """
    if config.language.vocabulary == 0:
        raise UsageError("language.vocabulary is 0: it is known once the tokenizer is built")
    parts = build_image_parts(config)
    execution = config.execution
    language = build_language_model(
        config.language, ids.new, execution.attention, execution.quantization
    )
    return assemble(config, ids, parts, language)


def assemble(
    config: CalicoConfig, ids: TokenIds, parts: ImageParts, language: PreTrainedModel
) -> Calico:
    """Join parts and mark which of their weights are trained.

    Args:
        config: of the model.
        ids: of the tokenizer that goes with it.
        parts: encoders, projector and mask decoder.
        language: already marked by `calico.model.language.tune`.

    Returns:
        The model in evaluation mode.

    Raises:
        UsageError: the Q-Former has too few rows for the words of questions.
    """
    qformer = config.qformer
    # An id beyond the embedding would only fail later, in the first batch that holds the word.
    if qformer.sees_question and ids.reader is not None and len(ids.reader) > qformer.vocabulary:
        raise UsageError(
            f"qformer.vocabulary is {qformer.vocabulary}, and questions are made of "
            f"{len(ids.reader)} words",
            "Set it to as many in a --config file.",
        )
    model = Calico(
        encoders=parts.encoders,
        projector=parts.bridge,
        language=language,
        correspondence=_build_correspondence(config),
        grounding=parts.grounding,
        ids=ids,
        loss=config.loss,
        execution=config.execution,
        presence=_build_presence(config),
    )
    freeze(model, config)
    return model.eval()


def build_image_parts(config: CalicoConfig) -> ImageParts:
    """Build encoders, projector and mask decoder with new random weights."""
    width = config.language.hidden_size
    # SamModel is only a way to build its three parts; the model keeps them apart, because the
    # encoder is frozen and cached while the decoder is trained.
    sam = build_sam(config.sam)
    encoders = ImageEncoders(
        build_global_encoder(config.vision),
        build_semantic_encoder(config.semantic) if config.uses_semantic else None,
        sam.vision_encoder,
        unread_tokens(config.semantic),
    )
    # "sdpa" is what transformers takes by itself wherever a class has it.
    if config.execution.attention == "eager":
        for encoder in (encoders.vision, encoders.semantic, encoders.sam):
            if isinstance(encoder, PreTrainedModel):
                encoder.set_attn_implementation("eager")
    projection = SegProjection(width, config.sam.prompt_size)
    return ImageParts(
        encoders,
        build_projector(config),
        MaskGrounder(sam.prompt_encoder, sam.mask_decoder, projection),
    )


def build_projector(config: CalicoConfig) -> Projector:
    """Build the projector from image features to the language model with new random weights."""
    width, vision, qformer = config.language.hidden_size, config.vision, config.qformer
    if qformer.kind == "linear":
        return LinearProjector(vision.patches, vision.hidden_size, width)
    kind = InstructedQFormerProjector if qformer.sees_question else QFormerProjector
    return kind(build_qformer(qformer, vision.hidden_size), qformer.queries, width)


def freeze(model: Calico, config: CalicoConfig) -> None:
    """Mark the weights that training changes; the language model is marked when it is built."""
    trained = config.trained
    model.encoders.requires_grad_(False)
    model.bridge.projection.requires_grad_(trained.projection)
    if isinstance(model.bridge, QFormerProjector):
        model.bridge.qformer.requires_grad_(trained.qformer)
        model.bridge.queries.requires_grad_(trained.queries)
    if isinstance(model.bridge, InstructedQFormerProjector):
        # Nothing reads what the last layer makes of the words: its weights would get no gradient.
        last = model.bridge.qformer.encoder.layer[-1]
        last.intermediate.requires_grad_(False)
        last.output.requires_grad_(False)
    model.grounding.prompt_encoder.requires_grad_(False)
    model.grounding.mask_decoder.requires_grad_(trained.mask_decoder)
    model.grounding.projection.requires_grad_(trained.seg_projection)
    if model.correspondence is not None:
        model.correspondence.requires_grad_(trained.correspondence)


def _build_presence(config: CalicoConfig) -> PresenceReader | None:
    if not config.loss.presence:
        return None
    return PresenceReader(config.language.hidden_size, config.prompt.max_images)


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
            settings.norm,
        )
    width = config.language.hidden_size
    # Each CAM has its own Linears; only CEM, queries and Q-Former are shared between layers.
    adaptive = [
        AdaptiveModule(width, config.state_size, settings.initial, settings.conditioning)
        for _ in settings.layers
    ]
    return Correspondence(extraction, adaptive, settings.layers, settings.requery)
