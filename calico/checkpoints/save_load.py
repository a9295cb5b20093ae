"""Weights in and out: only what training changed, by name, and nothing missing silently.

A checkpoint is a folder: `config.yaml`, `model.safetensors` (trained weights), the tokenizer, and
`checkpoint.json`. Frozen parts of published models are named there and read from their place;
where there are none (the tiny preset), or in a stand-alone checkpoint, they lie beside it in
`frozen.safetensors`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from calico.checkpoints.rotation import newest_checkpoint, read_best
from calico.config.calico import FORMAT_VERSION, CalicoConfig
from calico.config.yaml_io import plain_config, read_config, write_config
from calico.model.assembly import build_model
from calico.model.calico import Calico
from calico.model.precision import store
from calico.processing.tokenizer import READER, load_tokenizer, question_reader, token_ids
from calico.weights.safetensors_io import copy_weights, read_tensors, save_tensors
from mixedparts.errors import InputError

CONFIG, TRAINED, FROZEN, FACTS = (
    "config.yaml",
    "model.safetensors",
    "frozen.safetensors",
    "checkpoint.json",
)


def trained_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return what training changes, by name; tied weights appear once."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def frozen_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return everything else that the model cannot be rebuilt without."""
    kept: dict[str, Tensor] = {
        name: value for name, value in model.named_parameters() if not value.requires_grad
    }
    persistent = model.state_dict()
    kept.update((name, value) for name, value in model.named_buffers() if name in persistent)
    return kept


def kept_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return everything that a checkpoint may hold, by name."""
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
    """Write a checkpoint beside its place and rename it there once it is whole.

    Args:
        folder: where it goes; must not exist.
        model, config, tokenizer: what is saved.
        step: finished training steps.
        extra: JSON values for `checkpoint.json`.
        state: tensors that only a resumed run needs.
        weights: of the model by name, where processes share the model's own; `kept_weights`.
    """
    values = kept_weights(model) if weights is None else weights
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        write_config(config, temporary / CONFIG)
        tokenizer.save_pretrained(str(temporary))
        if config.qformer.sees_question and model.ids.reader is not None:
            model.ids.reader.save_pretrained(str(temporary / READER))
        # What transformers' AutoModel looks for; `calico.inference.transformers_auto` reads it.
        described: dict[str, Any] = {"model_type": "calico", "architectures": ["CalicoModel"]}
        described["settings"] = plain_config(config)
        (temporary / "config.json").write_text(json.dumps(described, indent=1) + "\n")
        save_tensors({name: values[name] for name in trained_weights(model)}, temporary / TRAINED)
        if not (extra or {}).get("init"):
            frozen = {name: values[name] for name in frozen_weights(model)}
            save_tensors(frozen, temporary / FROZEN)
        if state is not None:
            save_tensors(state, temporary / "training.safetensors")
        facts = {"format_version": FORMAT_VERSION, "step": step, **(extra or {})}
        (temporary / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def find_checkpoint(folder: Path) -> Path:
    """Return `folder` if it is a checkpoint, else the newest one in it.

    `RUN/best` means the best checkpoint of a run, if it evaluated any.

    Raises:
        InputError: there is none.
    """
    if (folder / TRAINED).is_file():
        return folder
    if folder.name == "best" and (best := read_best(folder.parent)) is not None:
        return folder.parent / best.checkpoint
    found = newest_checkpoint(folder)
    if found is None:
        raise InputError(
            f"there is no checkpoint in {folder}",
            "Train one with: calico-train --dataset mixedparts --preset tiny --output-dir DIR",
        )
    return found


def load_checkpoint(folder: Path) -> tuple[Calico, CalicoConfig, PreTrainedTokenizerBase]:
    """Rebuild the model of a checkpoint, in evaluation mode.

    Raises:
        InputError: a file is missing or broken, or names or shapes do not fit.
    """
    place = find_checkpoint(folder)
    config = read_config(place / CONFIG)
    tokenizer = load_tokenizer(place)
    facts = read_facts(place)
    record = facts.get("init")
    ids = token_ids(tokenizer, config.prompt.max_images)
    reader = question_reader(place) if config.qformer.sees_question else None
    if reader is not None:
        ids = replace(ids, reader=reader)
    if facts.get("merged"):
        from calico.weights.initial import filled

        frozen = read_tensors(place / FROZEN)
        model = filled(config, ids, {**frozen, **read_tensors(place / TRAINED)}, place)
        return model.eval(), config, tokenizer
    if record and not (place / FROZEN).is_file():
        from calico.weights.initial import restore

        model = restore(config, tokenizer, record, reader)
    else:
        model = build_model(config, ids)
        copy_weights(frozen_weights(model), read_tensors(place / FROZEN), place / FROZEN)
    copy_weights(trained_weights(model), read_tensors(place / TRAINED), place / TRAINED)
    return store(model, config.execution).eval(), config, tokenizer


def read_facts(place: Path) -> dict[str, Any]:
    """Return what `checkpoint.json` of a checkpoint says.

    Raises:
        InputError: it is missing or no JSON object.
    """
    try:
        facts = json.loads((place / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{place / FACTS} cannot be read: {error}") from error
    if not isinstance(facts, dict):
        raise InputError(f"{place / FACTS} is no JSON object")
    return facts
