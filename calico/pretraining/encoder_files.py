"""The folder of pretrained encoders: made by `calico-pretrain`, read by training runs."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

from torch import Tensor, nn

from calico.config.calico import CalicoConfig
from calico.config.yaml_io import read_config, write_config
from calico.model.assembly import ImageParts
from calico.model.calico import Calico
from calico.model.projector import QFormerProjector
from calico.weights.safetensors_io import copy_weights, read_tensors, save_tensors
from mixedparts.errors import InputError, UsageError

ENCODERS = "encoders"  # in the folder of a run that makes its own
WEIGHTS = "encoders.safetensors"
# Sections of a configuration that encoders are made for.
SECTIONS = ("vision", "semantic", "qformer", "sam")


def log_file(folder: Path) -> Path:
    """Return where the losses of pretraining stand: beside the folder it writes."""
    return folder.with_name(f"{folder.name}.log.jsonl")


def save_encoders(parts: ImageParts, config: CalicoConfig, folder: Path) -> None:
    """Write the image side of a model to a folder, which is there once it is whole."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # of a run that was killed
    temporary.mkdir()
    save_tensors(_weights(parts), temporary / WEIGHTS)
    write_config(config, temporary / "config.yaml")
    temporary.rename(folder)


def load_encoders(model: Calico, config: CalicoConfig, folder: Path) -> None:
    """Fill the image side of a model from a folder of pretrained encoders.

    Raises:
        InputError: it is no such folder, or weights do not fit.
        UsageError: it was made for another architecture; the differences are listed.
    """
    if not (folder / WEIGHTS).is_file():
        raise InputError(
            f"{folder} holds no pretrained encoders ({WEIGHTS})",
            "Make them with: calico-pretrain --dataset mixedparts --output-dir DIR",
        )
    made_for = read_config(folder / "config.yaml")
    different = [
        f"{section}.{name}: {value!r} there, {asdict(getattr(config, section))[name]!r} here"
        for section in SECTIONS
        for name, value in asdict(getattr(made_for, section)).items()
        if value != asdict(getattr(config, section))[name]
    ]
    if different:
        listed = "\n".join(f"  {line}" for line in different)
        raise UsageError(f"the encoders in {folder} are of another architecture:\n{listed}")
    parts = ImageParts(model.encoders, model.bridge, model.grounding)
    found = read_tensors(folder / WEIGHTS)
    if model.encoders.semantic is None:  # an ablation starts from the encoders of the full model
        found = {n: value for n, value in found.items() if not n.startswith("encoders.semantic.")}
    copy_weights(_weights(parts), found, folder / WEIGHTS)


def _weights(parts: ImageParts) -> dict[str, Tensor]:
    """Return what pretraining makes, under the names of the assembled model."""
    modules: dict[str, nn.Module] = {
        "encoders": parts.encoders,
        "grounding.prompt_encoder": parts.grounding.prompt_encoder,
        "grounding.mask_decoder": parts.grounding.mask_decoder,
    }
    found = {
        f"{prefix}.{name}": value
        for prefix, module in modules.items()
        for name, value in module.state_dict().items()
    }
    if isinstance(parts.bridge, QFormerProjector):
        found |= qformer_weights(parts.bridge)
    return found


def qformer_weights(bridge: QFormerProjector) -> dict[str, Tensor]:
    """Return the weights of a Q-Former and its queries, under the names of the assembled model."""
    qformer = bridge.qformer.state_dict()
    found: dict[str, Tensor] = {f"bridge.qformer.{name}": value for name, value in qformer.items()}
    return {**found, "bridge.queries": bridge.queries}
