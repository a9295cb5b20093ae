"""Build the model for the start of training: from published weights, with fresh CEM and CAMs.

The model is built on the meta device, without memory, and its weights are put in one at a time in
the type that they are stored in. A 7B model then never takes more memory than its final size and
one tensor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from calico.model.precision import storage_dtype, store
from calico.model.projector import new_projection
from calico.model.quantized import (
    Kind,
    QuantizedLinear,
    bitsandbytes,
    quantizable,
    replace_linear,
)
from calico.weights.families import EMBEDDINGS, VOCABULARY, Piece, Shape, stable_piece
from calico.weights.files import WeightFiles
from calico.weights.matching import Matching, reconcile
from calico.weights.safetensors_io import fitting
from calico.weights.start import check_start
from mixedparts.errors import InputError


@dataclass(frozen=True, slots=True)
class Initial:
    """A model filled with published weights.

    Attributes:
        model: in evaluation mode.
        config: with the tokenizer's vocabulary size, without open values.
        tokenizer: of the language model, with the grounding tokens.
        record: paths and fingerprints of the sources, for the checkpoint's metadata.
        report: lines about the use of every source.
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
        config: of the model; its vocabulary size is set to the tokenizer's, and its open values to
            those of the weights.
        places: files or folders; where two have the same part, the later one is used.
        tokenizer: of a checkpoint; by default the tokenizer of the language model, extended.
        rows: number of tokens that the language model had before; given with `tokenizer`.
        reader: tokenizer of the questions, if the Q-Former sees them; by default InstructBLIP's, in
            the folder of one of the places.

    Returns:
        The filled model with its configuration, tokenizer and sources.

    Raises:
        InputError: files are missing or broken, or do not fill the model exactly.
        EnvironmentFault: weights are to be quantised, and bitsandbytes is not installed.
        UsageError: the configuration of a source that supplies a part differs in values that
            shapes do not show.
    """
    if config.execution.quantization != "none":
        bitsandbytes()  # before anything is read: it may not be installed
    start = check_start(config, places, tokenizer, rows, reader)
    model = fill(start.config, start.ids, start.matching, start.rows)
    record = [
        {"path": str(one.place.absolute()), "fingerprint": one.fingerprint(), "rows": start.rows}
        for one in start.files
    ]
    return Initial(model, start.config, start.tokenizer, record, start.report())


def planned_start(config: CalicoConfig, places: Sequence[Path]) -> list[str]:
    """Check a start without reading the weights; errors as `initial_model`.

    Returns:
        Lines about the use of every source.
    """
    start = check_start(config, places)
    wanted = weight_shapes(on_meta(start.config, start.ids))
    reconcile(start.matching, wanted, start.config)
    _check_rows(start.config, start.ids, min(start.rows, start.matching.shape(EMBEDDINGS)[0]))
    return start.report()


def fill(config: CalicoConfig, ids: TokenIds, matching: Matching, rows: int) -> Calico:
    """Build the model and fill it, one tensor at a time.

    Args:
        config: with the final vocabulary size.
        ids: of its tokenizer.
        matching: of the sources.
        rows: number of tokens whose embeddings the sources have.

    Returns:
        The model in evaluation mode, with adapters.

    Raises:
        InputError: the sources do not fill the model exactly, or new tokens would stay untrained.
    """
    model = on_meta(config, ids)
    wanted = weight_shapes(model)
    fresh = reconcile(matching, wanted, config)
    _check_rows(config, ids, min(rows, matching.shape(EMBEDDINGS)[0]))
    # These were built without memory, so fresh ones are built again with initial values.
    if "grounding.projection.0.weight" in fresh:
        width, size = config.language.hidden_size, config.sam.prompt_size
        model.grounding.projection = SegProjection(width, size)
    if "bridge.projection.weight" in fresh:
        model.bridge.projection = new_projection(config.state_size, config.language.hidden_size)
    # Before the weights: what is frozen is stored in another type than what is trained.
    freeze(model, config)
    quantized = _quantized_names(model, config)
    # Only the latest tensor: the two halves of a SwiGLU follow each other and come from one.
    latest: dict[str, Tensor] = {}
    for name, weight in list(model.state_dict(keep_vars=True).items()):
        piece = stable_piece(name)
        # A tied output layer is not wanted: it becomes the embedding matrix below.
        if piece.target in fresh or piece.target not in wanted:
            continue
        if piece.target not in latest:
            latest = {piece.target: matching.value(piece.target)}
        value = latest[piece.target]
        if piece.target in VOCABULARY:
            value = _with_new_rows(value[:rows], config.language.vocabulary)
        value = value if piece.of == 1 else value.chunk(piece.of)[piece.order]
        if name in quantized:
            _put_quantized(model, name, value, config.execution.quantization)
            continue
        dtype = storage_dtype(name, weight.requires_grad, config.execution)
        # A copy always, or a weight could be a view of the file, or of a joined tensor.
        _put(model, name, value.to(dtype, copy=True))
    if config.language.tie_embeddings:
        model.language.tie_weights()
    # Adapters last: they wrap Linears in modules, which changes the names of the weights.
    tune(model.language, config.language, ids.new)
    return store(model, config.execution).eval()


def on_meta(config: CalicoConfig, ids: TokenIds) -> Calico:
    """Return the model without adapters, with the parts that published weights fill on `meta`.

    CEM and CAMs have memory and initial values: the paper adds them.
    """
    from accelerate import init_empty_weights

    # Buffers are real too: rotary frequencies are computed when the model is built, and no
    # checkpoint contains them.
    with init_empty_weights(include_buffers=False):
        parts = build_image_parts(config)
        language = build_base(config.language, config.execution.attention)
    language.requires_grad_(config.language.tuning == "full")
    return assemble(config, ids, parts, language)


def model_from_weights(
    config: CalicoConfig, ids: TokenIds, weights: Mapping[str, Tensor], origin: Path
) -> Calico:
    """Build a model without adapters from weights under its own names, without copying them.

    Args:
        config: of the model.
        ids: of its tokenizer.
        weights: all weights of the model, by name.
        origin: of the weights, for the error message.

    Returns:
        The model; its weights share memory with `weights`.

    Raises:
        InputError: names or shapes do not fit; all are listed.
    """
    model = on_meta(config, ids)
    own = model.state_dict()
    # A tied output layer is the embedding matrix itself, which a checkpoint has only once.
    if config.language.tie_embeddings:
        own.pop(VOCABULARY[1], None)
    for name, value in fitting(own, weights, origin).items():
        _put(model, name, value)
    if config.language.tie_embeddings:
        model.language.tie_weights()
    freeze(model, config)
    return model


def weight_shapes(model: nn.Module) -> dict[str, Shape]:
    """Return the shapes of all weights by stable name."""
    shapes: dict[str, Shape] = {}
    tied = getattr(model, "language", None)
    for name, weight in model.state_dict().items():
        piece: Piece = stable_piece(name)
        shape = tuple(weight.shape)
        # The joined weight of the files is `of` times as high as the piece in the model.
        shapes[piece.target] = (shape[0] * piece.of, *shape[1:]) if shape else shape
    if tied is not None and tied.config.tie_word_embeddings:
        shapes.pop(VOCABULARY[1], None)
    return shapes


def _check_rows(config: CalicoConfig, ids: TokenIds, known: int) -> None:
    """Raise if the embeddings of new tokens would neither be loaded nor trained."""
    new = [index for index in ids.new if index >= known]
    inherited = config.language.new_token_rows == "inherited" and config.language.tuning != "full"
    if new and inherited:
        raise InputError(
            f"{len(new)} grounding tokens ([SEG], <p>, …) are new to this language model, and"
            " language.new_token_rows is 'inherited': their embeddings would mean nothing",
            "Set language.new_token_rows: trained in a --config file, or start from GLaMM.",
        )


def _with_new_rows(rows: Tensor, count: int) -> Tensor:
    """Return embeddings (count, D): the rows that there are, then their mean for each new token."""
    if len(rows) >= count:
        return rows[:count]
    # The mean gives a new token an average logit; a random row could outweigh all trained ones. In
    # float32: a sum over 32,000 rows in bf16 would lose most of them.
    mean = rows.float().mean(0, keepdim=True).to(rows.dtype)
    return torch.cat([rows, mean.expand(count - len(rows), -1)])


def _quantized_names(model: Calico, config: CalicoConfig) -> set[str]:
    """Return the names of the weights that are quantised as they are put in."""
    if config.execution.quantization == "none":
        return set()
    return {f"language.{name}.weight" for name in quantizable(model.language)}


def _put_quantized(model: Calico, name: str, value: Tensor, kind: Kind) -> None:
    """Quantise a weight and put it in: the model never holds more than one in full."""
    place = name.removesuffix(".weight")
    linear = model.get_submodule(place)
    assert isinstance(linear, nn.Linear)
    # From the file's own precision, not from bf16: one rounding less.
    replace_linear(model, place, QuantizedLinear(linear, value, kind))


def _put(model: nn.Module, name: str, value: Tensor) -> None:
    owner, _, leaf = name.rpartition(".")
    module = model.get_submodule(owner)
    # A tensor on `meta` has no memory to copy into, so it is replaced, in the module's own
    # dictionaries, which work for parameters and buffers alike.
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
    """Rebuild the model of a checkpoint, with its frozen parts from their published sources.

    Args:
        config: of the checkpoint.
        tokenizer: of the checkpoint.
        record: paths and fingerprints, as `Initial.record`.
        reader: tokenizer of the questions, if the Q-Former sees them.

    Returns:
        The model; the trained weights of the checkpoint are not in it yet.

    Raises:
        InputError: published weights are missing or differ from those at training.
    """
    places = [Path(str(source["path"])) for source in record]
    for path, source in zip(places, record, strict=True):
        if not path.exists():
            raise InputError(
                f"the checkpoint's frozen weights came from {path}, which is not there",
                "Put them back, or use a stand-alone checkpoint made with calico-merge.",
            )
        if WeightFiles(path).fingerprint() != source["fingerprint"]:
            raise InputError(f"{path} contains other weights than when the checkpoint was trained")
    return initial_model(config, places, tokenizer, int(record[0]["rows"]), reader).model
