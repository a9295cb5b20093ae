"""The model as training starts it: published weights in, what the paper adds fresh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from calico.config.calico import CalicoConfig
from calico.model.assembly import assemble, build_image_parts, freeze
from calico.model.calico import Calico
from calico.model.grounding import SegProjection
from calico.model.inputs import TokenIds
from calico.model.language import build_base, tune
from calico.model.precision import kept_dtype, store
from calico.model.projector import LinearProjector
from calico.processing.tokenizer import READER, extended_tokenizer, question_reader, token_ids
from calico.weights.agreement import check_agreement
from calico.weights.families import Piece, Shape, place
from calico.weights.files import WeightFiles
from calico.weights.matching import Matching, WeightSource, match, reconcile
from calico.weights.safetensors_io import fitting
from mixedparts.errors import InputError

_EMBEDDINGS = "language.model.embed_tokens.weight"
_VOCABULARY = (_EMBEDDINGS, "language.lm_head.weight")


@dataclass(frozen=True, slots=True)
class Initial:
    """A model filled with published weights.

    Attributes:
        model: in evaluation mode.
        config: with the tokenizer's vocabulary.
        tokenizer: of the language model, with the grounding tokens.
        record: what a checkpoint says of where its frozen parts come from.
        report: lines that say what every source was used for.
    """

    model: Calico
    config: CalicoConfig
    tokenizer: PreTrainedTokenizerBase
    record: list[dict[str, Any]]
    report: list[str]


def initial_model(
    config: CalicoConfig,
    places: Sequence[Path],
    tokenizer: PreTrainedTokenizerBase | None = None,
    rows: int | None = None,
    reader: PreTrainedTokenizerBase | None = None,
) -> Initial:
    """Build the model from published weights.

    Args:
        config: of the model; its vocabulary is set to the tokenizer's.
        places: files or folders; where two hold the same part, the later one is taken.
        tokenizer: that goes with a checkpoint; by default that of the language model, extended.
        rows: tokens that the language model had before, with `tokenizer`.
        reader: of questions, where the Q-Former sees them; by default InstructBLIP's, which lies
            beside one of the places.

    Raises:
        InputError: weights that do not fill the model exactly, or belong to another architecture.
    """
    files = [WeightFiles(path) for path in places]
    matching = match(WeightSource(str(one.place), one) for one in files)
    for one, layout in zip(files, matching.layouts, strict=True):
        check_agreement(one.place, layout, config)
    if tokenizer is None or rows is None:
        tokenizer, rows = extended_tokenizer(_speaker(matching, files), config.prompt)
    language = replace(config.language, vocabulary=len(tokenizer))
    config = replace(config, language=language)
    ids = token_ids(tokenizer, config.prompt.max_images)
    if config.qformer.sees_question:
        ids = replace(ids, reader=reader or _reader(places))
    model = fill(config, ids, matching, rows)
    record = [
        {"path": str(one.place.absolute()), "fingerprint": one.fingerprint(), "rows": rows}
        for one in files
    ]
    return Initial(model, config, tokenizer, record, matching.report())


def fill(config: CalicoConfig, ids: TokenIds, matching: Matching, rows: int) -> Calico:
    """Build the model and fill it, one tensor at a time.

    Args:
        config: with the final vocabulary.
        ids: of the tokenizer that goes with it.
        matching: of the sources.
        rows: tokens whose embeddings the sources hold.
    """
    model = on_meta(config, ids)
    fresh = reconcile(matching, wanted_shapes(model), config)
    _check_rows(config, ids, min(rows, matching.shape(_EMBEDDINGS)[0]))
    if "grounding.projection.0.weight" in fresh:
        width, size = config.language.hidden_size, config.sam.prompt_size
        model.grounding.projection = SegProjection(width, size)
    if "bridge.projection.weight" in fresh:
        bridge = config.vision
        width = config.language.hidden_size
        model.bridge = LinearProjector(bridge.patches, bridge.hidden_size, width)
    freeze(model, config)
    held: dict[str, Tensor] = {}
    for name, weight in list(model.state_dict(keep_vars=True).items()):
        piece = place(name)
        if piece.target in fresh:
            continue
        if piece.target not in held:
            held = {piece.target: matching.value(piece.target)}
        value = held[piece.target]
        if piece.target in _VOCABULARY:
            value = _with_new_rows(value[:rows], config.language.vocabulary)
        value = value if piece.of == 1 else value.chunk(piece.of)[piece.order]
        dtype = kept_dtype(name, weight.requires_grad, config.execution)
        _put(model, name, value.to(dtype, copy=True))
    if config.language.tie_embeddings:
        model.language.tie_weights()
    tune(model.language, config.language, ids.new)
    return store(model, config.execution).eval()


def on_meta(config: CalicoConfig, ids: TokenIds) -> Calico:
    """Build the model without adapters and without memory for what published weights fill.

    Buffers are real: rotary frequencies are in no checkpoint. So are CEM and CAMs, which the
    paper adds.
    """
    from accelerate import init_empty_weights

    with init_empty_weights(include_buffers=False):
        parts = build_image_parts(config)
        language = build_base(config.language, config.execution.attention)
    language.requires_grad_(config.language.tuning == "full")
    return assemble(config, ids, parts, language)


def filled(
    config: CalicoConfig, ids: TokenIds, weights: Mapping[str, Tensor], origin: Path
) -> Calico:
    """Build a model without adapters around weights under its own names, without copying them.

    Raises:
        InputError: names or shapes that do not fit, all listed.
    """
    model = on_meta(config, ids)
    own = model.state_dict()
    if config.language.tie_embeddings:
        own.pop(_VOCABULARY[1], None)
    for name, value in fitting(own, weights, origin).items():
        _put(model, name, value)
    if config.language.tie_embeddings:
        model.language.tie_weights()
    freeze(model, config)
    return model


def wanted_shapes(model: nn.Module) -> dict[str, Shape]:
    """Return the shapes of all weights by stable name."""
    shapes: dict[str, Shape] = {}
    tied = getattr(model, "language", None)
    for name, weight in model.state_dict().items():
        piece: Piece = place(name)
        shape = tuple(weight.shape)
        shapes[piece.target] = (shape[0] * piece.of, *shape[1:]) if shape else shape
    if tied is not None and tied.config.tie_word_embeddings:
        shapes.pop(_VOCABULARY[1], None)
    return shapes


def _speaker(matching: Matching, files: Sequence[WeightFiles]) -> Path:
    """Return the folder that the language model comes from."""
    if _EMBEDDINGS not in matching.recipes:
        raise InputError(
            "no --init holds a language model",
            "Add the folder of one, for example GLaMM's or InstructBLIP-Vicuna's.",
        )
    source = files[matching.recipes[_EMBEDDINGS][0].source].place
    return source if source.is_dir() else source.parent


def _reader(places: Sequence[Path]) -> PreTrainedTokenizerBase:
    """Return the tokenizer of the Q-Former's words, the last one that lies beside the weights."""
    for path in reversed(places):
        found = question_reader(path if path.is_dir() else path.parent)
        if found is not None:
            return found
    raise InputError(
        f"qformer.sees_question is true, and no folder of --init holds {READER}",
        "It comes with InstructBLIP's checkpoint; put that folder beside the weights.",
    )


def _check_rows(config: CalicoConfig, ids: TokenIds, known: int) -> None:
    """Refuse tokens that would stay untrained and meaningless."""
    new = [index for index in ids.new if index >= known]
    inherited = config.language.new_token_rows == "inherited" and config.language.tuning != "full"
    if new and inherited:
        raise InputError(
            f"{len(new)} grounding tokens ([SEG], <p>, …) are new to this language model, and"
            " language.new_token_rows is 'inherited': their embeddings would mean nothing",
            "Set language.new_token_rows: trained in a --config file, or start from GLaMM.",
        )


def _with_new_rows(rows: Tensor, count: int) -> Tensor:
    """Return embeddings (count, D): those that are known, then their mean."""
    if len(rows) >= count:
        return rows[:count]
    mean = rows.float().mean(0, keepdim=True).to(rows.dtype)
    return torch.cat([rows, mean.expand(count - len(rows), -1)])


def _put(model: nn.Module, name: str, value: Tensor) -> None:
    owner, _, leaf = name.rpartition(".")
    module = model.get_submodule(owner)
    old = module._parameters.get(leaf)
    if old is not None:
        module._parameters[leaf] = nn.Parameter(value, requires_grad=old.requires_grad)
    else:
        module._buffers[leaf] = value


def restore(
    config: CalicoConfig,
    tokenizer: PreTrainedTokenizerBase,
    record: Sequence[Mapping[str, Any]],
    reader: PreTrainedTokenizerBase | None = None,
) -> Calico:
    """Rebuild the frozen parts of a checkpoint from where they came from.

    Raises:
        InputError: published weights are gone or are others than before.
    """
    places = [Path(str(one["path"])) for one in record]
    for path, one in zip(places, record, strict=True):
        if not path.exists():
            raise InputError(
                f"the checkpoint's frozen weights came from {path}, which is not there",
                "Put them back, or use a stand-alone checkpoint made with calico-merge.",
            )
        if WeightFiles(path).fingerprint() != one["fingerprint"]:
            raise InputError(f"{path} holds other weights than when the checkpoint was trained")
    return initial_model(config, places, tokenizer, int(record[0]["rows"]), reader).model
