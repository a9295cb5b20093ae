"""Files of pretraining: the folder of pretrained encoders, and the weights of finished stages.

`calico-pretrain` writes the folder, training runs read it. While pretraining runs, the weights of
each finished stage are in a folder beside it, so a run that was killed continues with the first
stage that is not finished.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from calico.config.calico import CalicoConfig
from calico.config.yaml_io import read_config, write_config
from calico.model.assembly import ImageParts
from calico.model.calico import Calico
from calico.model.projector import QFormerProjector
from calico.weights.safetensors_io import copy_weights, read_tensors, save_tensors
from mixedparts.errors import InputError, UsageError
from mixedparts.files.text import read_own_json
from mixedparts.storage.shards import write_json, written_beside

ENCODERS = "encoders"  # folder of the encoders in the output of a run that makes its own
WEIGHTS = "encoders.safetensors"
# Sections of a configuration that fix the shapes of the encoders.
SECTIONS = ("vision", "semantic", "qformer", "sam")
_BEGUN = "begun.json"


class FinishedStages:
    """The weights of finished stages, one file for each.

    Args:
        folder: of these files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, identity: Mapping[str, Any]) -> None:
        """Create the folder, and remove the stages of another configuration or dataset.

        Args:
            identity: JSON values that decide the results of the stages.
        """
        record = self.folder / _BEGUN
        recorded = read_own_json(record)
        # Through JSON and back, because tuples come back as lists.
        if recorded == json.loads(json.dumps(identity)):
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        write_json(record, identity)

    def has(self, stage: str) -> bool:
        """Return whether a stage is finished."""
        return self._path(stage).is_file()

    def load(self, stage: str, into: Mapping[str, Tensor]) -> None:
        """Replace the values of `into` by the weights of a finished stage.

        Raises:
            InputError: the file cannot be read, or its weights do not fit.
        """
        path = self._path(stage)
        copy_weights(into, read_tensors(path), path)

    def save(self, stage: str, weights: Mapping[str, Tensor]) -> None:
        """Save the weights of a stage, which is finished with that."""
        # Renamed when it is complete: the file alone shows that the stage is finished.
        with written_beside(self._path(stage)) as temporary:
            save_tensors(weights, temporary)

    def _path(self, stage: str) -> Path:
        return self.folder / f"{stage}.safetensors"


def log_file(folder: Path) -> Path:
    """Return the file for the losses of pretraining, beside the folder of encoders."""
    return folder.with_name(f"{folder.name}.log.jsonl")


def save_encoders(parts: ImageParts, config: CalicoConfig, folder: Path) -> None:
    """Write the image side of a model to a temporary folder, then rename it.

    Args:
        parts: encoders, projector and SAM's decoder.
        config: that they were built from.
        folder: must not exist.
    """
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # left over by a run that was killed
    temporary.mkdir()
    save_tensors(_weights(parts), temporary / WEIGHTS)
    write_config(config, temporary / "config.yaml")
    temporary.rename(folder)


def load_encoders(model: Calico | ImageParts, config: CalicoConfig, folder: Path) -> None:
    """Fill the image side of a model from a folder of pretrained encoders.

    Args:
        model: whose image side is filled; or these parts alone.
        config: of the model.
        folder: of the encoders.

    Raises:
        InputError: the folder contains no encoders, or weights do not fit.
        UsageError: the encoders have another architecture; the differences are listed.
    """
    if not (folder / WEIGHTS).is_file():
        raise InputError(
            f"{folder} contains no pretrained encoders ({WEIGHTS})",
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
    values = read_tensors(folder / WEIGHTS)
    # An ablation without the semantic encoder starts from the encoders of the full model.
    if model.encoders.semantic is None:
        values = {n: value for n, value in values.items() if not n.startswith("encoders.semantic.")}
    copy_weights(_weights(parts), values, folder / WEIGHTS)


def _weights(parts: ImageParts) -> dict[str, Tensor]:
    """Return the weights that pretraining trains, under the names of the assembled model."""
    # Projection and [SEG] MLP are not among them: they depend on the language model.
    modules: dict[str, nn.Module] = {
        "encoders": parts.encoders,
        "grounding.prompt_encoder": parts.grounding.prompt_encoder,
        "grounding.mask_decoder": parts.grounding.mask_decoder,
    }
    weights = {
        f"{prefix}.{name}": value
        for prefix, module in modules.items()
        for name, value in module.state_dict().items()
    }
    if isinstance(parts.bridge, QFormerProjector):
        weights |= qformer_weights(parts.bridge)
    return weights


def qformer_weights(projector: QFormerProjector) -> dict[str, Tensor]:
    """Return the weights of a Q-Former and its queries, under the names of the assembled model."""
    qformer: dict[str, Tensor] = projector.qformer.state_dict()
    weights = {f"bridge.qformer.{name}": value for name, value in qformer.items()}
    return {**weights, "bridge.queries": projector.queries}
