"""The folder of pretrained encoders: made by `calico-pretrain`, read by training runs."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

from torch import Tensor, nn

from calico.config import CalicoConfig
from calico.configfile import read_config, write_config
from calico.data import BuiltDataset
from calico.model.assembly import ImageParts
from calico.model.calico import Calico
from calico.model.checkpoints import copy_weights, read_tensors, save_tensors
from calico.processing import ImageProcessor
from calico.training.features import feature_store
from calico.training.labels import gather_entities, label_set, labelled_images
from calico.training.pretrain import pretrain_encoders, pretrain_qformer
from calico.training.runlog import RunLog
from mixedparts.errors import InputError, UsageError
from mixedparts.progress import Progress

WEIGHTS = "encoders.safetensors"
_SECTIONS = ("vision", "semantic", "qformer", "sam")


def pretrain(config: CalicoConfig, dataset: BuiltDataset, folder: Path, progress: Progress) -> Path:
    """Make encoders from the train split and write them to `folder`, once they are whole.

    Args:
        config: its `pretraining` says how long.
        dataset: single images come from its pairs.
        folder: must not exist.
        progress: is told how far it has come.

    Returns:
        `folder`.
    """
    log = RunLog(folder.with_name(f"{folder.name}.log.jsonl"), config.training.log_every)
    entities = gather_entities(dataset.pairs("train"))
    labels = label_set(entities.values())
    processor = ImageProcessor(config)
    images = labelled_images(dataset, "train", entities, labels, processor, progress)
    parts = pretrain_encoders(config, images, labels, progress, log)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        if config.pretraining.qformer_steps > 0:
            rows = sorted(entities)
            store = feature_store(
                parts.encoders,
                dataset.images("train"),
                rows,
                processor,
                folder.with_name("features"),
                config.training.flips,
                progress,
            )
            present = [one.present for one in images] * store.variants
            pretrain_qformer(config, parts, store.vision(), present, labels, progress, log)
        write_config(config, temporary / "config.yaml")
        save_tensors(_weights(parts), temporary / WEIGHTS)
        names = {"classes": labels.classes, "parts": labels.parts}
        (temporary / "labels.json").write_text(json.dumps(names, indent=1) + "\n", "utf-8")
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


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
        for section in _SECTIONS
        for name, value in asdict(getattr(made_for, section)).items()
        if value != asdict(getattr(config, section))[name]
    ]
    if different:
        listed = "\n".join(f"  {line}" for line in different)
        raise UsageError(f"the encoders in {folder} are of another architecture:\n{listed}")
    parts = ImageParts(model.encoders, model.bridge, model.grounding)
    copy_weights(_weights(parts), read_tensors(folder / WEIGHTS), folder / WEIGHTS)


def _weights(parts: ImageParts) -> dict[str, Tensor]:
    """Return what pretraining makes, under the names of the assembled model."""
    modules: dict[str, nn.Module] = {
        "encoders": parts.encoders,
        "bridge.qformer": parts.bridge.qformer,
        "grounding.prompt_encoder": parts.grounding.prompt_encoder,
        "grounding.mask_decoder": parts.grounding.mask_decoder,
    }
    found = {
        f"{prefix}.{name}": value
        for prefix, module in modules.items()
        for name, value in module.state_dict().items()
    }
    return {**found, "bridge.queries": parts.bridge.queries}
