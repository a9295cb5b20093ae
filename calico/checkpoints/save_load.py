"""Save and load checkpoints.

A checkpoint is a folder: `config.yaml`, `model.safetensors` (trained weights), the tokenizer, and
`checkpoint.json` (metadata). For frozen parts of published models, the metadata record path and
fingerprint of their files, which loading reads again: about 28M of 8.6B weights are saved. Without
published models (the tiny preset), and in a stand-alone checkpoint, the frozen parts are in
`frozen.safetensors`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from calico.checkpoints.digests import damaged, damaged_files, write_digests
from calico.checkpoints.rotation import newest_checkpoint, read_best
from calico.config.calico import FORMAT_VERSION, CalicoConfig
from calico.config.yaml_io import plain_config, read_config, write_config
from calico.model.assembly import build_model
from calico.model.calico import Calico
from calico.model.precision import store
from calico.processing.tokenizer import (
    QUESTION_TOKENIZER,
    load_question_tokenizer,
    load_tokenizer,
    token_ids,
)
from calico.weights.safetensors_io import copy_weights, read_tensors, save_tensors
from mixedparts.errors import InputError
from mixedparts.files.temporary import temporary_beside
from mixedparts.files.text import read_json

CONFIG, METADATA = "config.yaml", "checkpoint.json"
TRAINED, FROZEN, TRAINING = "model.safetensors", "frozen.safetensors", "training.safetensors"


class _Published(msgspec.Struct):
    """A source of published weights in the metadata, as `Initial.record` has it."""

    path: str
    fingerprint: str
    rows: int


class _MetadataShape(msgspec.Struct):
    """The part of `checkpoint.json` that readers rely on; a file may contain more."""

    step: Annotated[int, msgspec.Meta(ge=0)]
    merged: bool = False
    init: list[_Published] | None = None
    synthetic: bool = False  # trained on images that `mixedparts sample` drew


def trained_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the weights that training changes, by name; tied weights appear once."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def frozen_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the other weights and the persistent buffers, by name."""
    frozen: dict[str, Tensor] = {
        name: value for name, value in model.named_parameters() if not value.requires_grad
    }
    # Only the state dictionary shows which buffers are persistent: the others are computed when a
    # model is built.
    persistent = model.state_dict()
    frozen.update((name, value) for name, value in model.named_buffers() if name in persistent)
    return frozen


def checkpoint_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return all weights that a checkpoint can contain, by name."""
    return {**frozen_weights(model), **trained_weights(model)}


def save_checkpoint(
    folder: Path,
    model: Calico,
    config: CalicoConfig,
    tokenizer: PreTrainedTokenizerBase,
    step: int,
    extra: Mapping[str, Any] | None = None,
    state: Mapping[str, Tensor] | None = None,
    weights: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a checkpoint to a temporary folder, then rename it.

    Args:
        folder: of the checkpoint; must not exist.
        model: whose weights are saved.
        config: of the model.
        tokenizer: of the model.
        step: number of finished training steps.
        extra: JSON values for `checkpoint.json`.
        state: tensors that only a resumed run needs.
        weights: `checkpoint_weights` of the model in full, if processes hold shards of it.
    """
    values = checkpoint_weights(model) if weights is None else weights
    # The rename is the only step that makes a checkpoint visible: a kill at any time leaves the
    # older checkpoints and no half one.
    temporary = temporary_beside(folder)
    try:
        temporary.mkdir(parents=True)
        write_config(config, temporary / CONFIG)
        tokenizer.save_pretrained(str(temporary))
        if config.qformer.sees_question and model.ids.reader is not None:
            model.ids.reader.save_pretrained(str(temporary / QUESTION_TOKENIZER))
        # For transformers' AutoModel; `calico.inference.transformers_auto` reads it.
        auto_config: dict[str, Any] = {"model_type": "calico", "architectures": ["CalicoModel"]}
        auto_config["settings"] = plain_config(config)
        (temporary / "config.json").write_text(json.dumps(auto_config, indent=1) + "\n")
        save_tensors({name: values[name] for name in trained_weights(model)}, temporary / TRAINED)
        # With a record of published sources ("init"), frozen parts are not written again.
        if not (extra or {}).get("init"):
            frozen = {name: values[name] for name in frozen_weights(model)}
            save_tensors(frozen, temporary / FROZEN)
        if state is not None:
            save_tensors(state, temporary / TRAINING)
        metadata = {"format_version": FORMAT_VERSION, "step": step, **(extra or {})}
        # Sorted: a resumed run collects the values in another order.
        text = json.dumps(metadata, indent=1, sort_keys=True)
        (temporary / METADATA).write_text(text + "\n", encoding="utf-8")
        write_digests(temporary)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def find_checkpoint(folder: Path) -> Path:
    """Return `folder` if it is a checkpoint, else the newest checkpoint in it.

    `RUN/best` means the best checkpoint of a run that evaluated some.

    Raises:
        InputError: there is no checkpoint.
    """
    if (folder / TRAINED).is_file():
        return folder
    if folder.name == "best" and (best := read_best(folder.parent)) is not None:
        return folder.parent / best.checkpoint
    newest = newest_checkpoint(folder)
    if newest is None:
        raise InputError(
            f"there is no checkpoint in {folder}",
            "Train one with: calico-train --dataset mixedparts --preset tiny --output-dir DIR",
        )
    return newest


def load_checkpoint(
    folder: Path, verify: bool = False
) -> tuple[Calico, CalicoConfig, PreTrainedTokenizerBase]:
    """Return the model of a checkpoint in evaluation mode, its configuration and its tokenizer.

    Args:
        folder: a checkpoint, or a run (see `find_checkpoint`).
        verify: compare the digest of the frozen weights too, which reads all of them.

    Raises:
        InputError: a file is missing, damaged or changed, or names or shapes do not fit.
    """
    place = find_checkpoint(folder)
    # The state of training is only read, and compared, when a run is resumed.
    damage = damaged_files(place, sized=() if verify else (FROZEN, TRAINING))
    # Weights that do not fit the model say more about what happened than their digests do.
    if damage.keys() - {TRAINED, FROZEN}:
        raise damaged(place, damage.values())
    try:
        loaded = _load(place)
    except InputError as error:
        if not damage:
            raise
        raise damaged(place, [*damage.values(), *str(error).splitlines()]) from error
    if damage:
        raise damaged(place, damage.values())
    return loaded


def _load(place: Path) -> tuple[Calico, CalicoConfig, PreTrainedTokenizerBase]:
    """Return model, configuration and tokenizer of a checkpoint's folder.

    Raises:
        InputError: a file is missing or broken, or names or shapes do not fit.
    """
    config = read_config(place / CONFIG)
    tokenizer = load_tokenizer(place)
    metadata = read_checkpoint_metadata(place)
    record = metadata.get("init")
    ids = token_ids(tokenizer, config.prompt.max_images)
    if len(tokenizer) > config.language.vocabulary:
        raise InputError(
            f"the tokenizer in {place} has {len(tokenizer)} tokens, the model"
            f" {config.language.vocabulary}"
        )
    reader = load_question_tokenizer(place) if config.qformer.sees_question else None
    if reader is not None:
        ids = replace(ids, reader=reader)
    # A stand-alone checkpoint has every weight: the model is built around them without a copy.
    if metadata.get("merged"):
        from calico.weights.initial import model_from_weights

        frozen = read_tensors(place / FROZEN)
        model = model_from_weights(config, ids, {**frozen, **read_tensors(place / TRAINED)}, place)
        return model.eval(), config, tokenizer
    if record and not (place / FROZEN).is_file():
        from calico.weights.initial import restore

        model = restore(config, tokenizer, record, reader)
    else:
        model = build_model(config, ids)
        copy_weights(frozen_weights(model), read_tensors(place / FROZEN), place / FROZEN)
    # Both files together fill every weight: `copy_weights` raises for a name that is missing.
    copy_weights(trained_weights(model), read_tensors(place / TRAINED), place / TRAINED)
    return store(model, config.execution).eval(), config, tokenizer


def read_checkpoint_metadata(place: Path) -> dict[str, Any]:
    """Return the contents of a checkpoint's `checkpoint.json`.

    Raises:
        InputError: the file is missing, not JSON, or a value has another type.
    """
    metadata: dict[str, Any] = read_json(place / METADATA)
    try:
        msgspec.convert(metadata, _MetadataShape)
    except msgspec.ValidationError as error:
        raise InputError(f"{place / METADATA} is not a valid checkpoint record: {error}") from error
    return metadata
