"""Make a stand-alone checkpoint: adapters merged into the language model, frozen parts included."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from calico.checkpoints.save_load import (
    FROZEN,
    TRAINED,
    find_checkpoint,
    frozen_weights,
    load_checkpoint,
    read_checkpoint_metadata,
    save_checkpoint,
    trained_weights,
)
from calico.config.calico import CalicoConfig
from calico.model.calico import Calico
from calico.model.precision import storage_dtype, store
from calico.model.quantized import QuantizedLinear, dequantized_copy
from calico.weights.families import EMBEDDINGS
from mixedparts.errors import EnvironmentFault, InputError, UsageError
from mixedparts.storage.leftovers import remove_leftovers
from mixedparts.storage.writer_lock import writing


def merge_checkpoint(checkpoint: Path, folder: Path, verify: bool = False) -> Path:
    """Write a checkpoint that needs no other file, and check what was written.

    Args:
        checkpoint: a checkpoint of a training run, or the run's folder.
        folder: of the new checkpoint; must not exist.
        verify: compare the digest of the frozen weights too.

    Returns:
        `folder`.

    Raises:
        UsageError: `folder` exists.
        InputError: the checkpoint cannot be loaded, or the model has fewer embeddings than its
            tokenizer has tokens.
        EnvironmentFault: there is too little disk space, a file was not written correctly, or
            another process writes to the folder.
    """
    with writing(folder):
        if folder.exists():
            raise UsageError(f"{folder} exists already", "Choose another --out or remove it.")
        remove_leftovers(folder.parent, folder.name)
        return _merge(checkpoint, folder, verify)


def _merge(checkpoint: Path, folder: Path, verify: bool) -> Path:
    place = find_checkpoint(checkpoint)
    model, config, tokenizer = load_checkpoint(place, verify)
    config = merge_adapters(model, config)
    # LISA's merged checkpoints often had 32,003 tokens and 32,004 rows, or the reverse; too few
    # rows would fail at the first new token only.
    rows = len(model.state_dict()[EMBEDDINGS])
    if rows < len(tokenizer):
        raise InputError(f"{place} has {rows} embeddings for {len(tokenizer)} tokens")
    files: dict[str, Mapping[str, Tensor]] = {
        TRAINED: trained_weights(model),
        FROZEN: frozen_weights(model),
    }
    _check_space(folder, sum(value.nbytes for part in files.values() for value in part.values()))
    metadata = read_checkpoint_metadata(place)
    passed_on = {"synthetic": True} if metadata.get("synthetic") else {}
    extra = {"merged": True, **passed_on}
    save_checkpoint(folder, model, config, tokenizer, int(metadata["step"]), extra)
    for name, weights in files.items():
        _check_written(folder / name, weights)
    return folder


def merge_adapters(model: Calico, config: CalicoConfig) -> CalicoConfig:
    """Merge adapters and trained embedding rows into the language model, in place.

    Returns:
        The configuration of the model without adapters.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapted = [
        (name, module)
        for name, module in model.language.named_modules()
        if isinstance(module, BaseTunerLayer)
    ]
    plain = storage_dtype("language", False, config.execution)
    for name, module in adapted:
        base = module.get_base_layer()
        stored = base.weight.dtype
        assert isinstance(stored, torch.dtype)
        # PEFT would round the sum to 8 or 4 bits again. What the adapters were trained on are the
        # dequantised weights: the new checkpoint has those, in the precision of all others.
        if isinstance(base, QuantizedLinear):
            base, stored = dequantized_copy(base, torch.float32), plain
            module.base_layer = base  # type: ignore[attr-defined]
        weight = base.weight
        assert isinstance(weight, nn.Parameter)
        # In float32, so that the sum of weight and adapter is rounded once, at the end. One module
        # at a time: the whole model in float32 would take twice its memory.
        weight.data = weight.data.float()
        module.merge()
        weight.data = weight.data.to(stored)
        # PEFT's wrapper goes, so that weights get their plain names back. Trained rows are in a
        # wrapper `token_adapter` around their embedding, which goes as a whole.
        _replace(model.language, name.removesuffix(".token_adapter"), base)
    for name, layer in list(model.language.named_modules()):
        if isinstance(layer, QuantizedLinear):
            _replace(model.language, name, dequantized_copy(layer, plain))
    config = replace(config, execution=replace(config.execution, quantization="none"))
    if config.language.tuning == "lora":
        config = replace(config, language=replace(config.language, tuning="frozen"))
        model.language.requires_grad_(False)
    store(model, config.execution)
    return config


def _replace(root: nn.Module, name: str, module: nn.Module) -> None:
    owner, _, leaf = name.rpartition(".")
    setattr(root.get_submodule(owner), leaf, module)


def _check_space(folder: Path, needed: int) -> None:
    # The folder does not exist yet: the file system is that of the nearest folder that does.
    above = next(path for path in folder.absolute().parents if path.exists())
    free = shutil.disk_usage(above).free
    if free < needed:
        raise EnvironmentFault(
            f"{folder} needs {needed / 2**30:.1f} GiB, {above} has {free / 2**30:.1f} GiB free"
        )


def _check_written(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Compare the names, shapes and size of a file with the weights that were saved to it."""
    with safe_open(path, framework="pt") as file:
        written = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    meant = {name: tuple(value.shape) for name, value in weights.items()}
    size = sum(value.nbytes for value in weights.values())
    if written != meant or path.stat().st_size < size:
        raise EnvironmentFault(f"{path} was not written completely; is the disk full?")
