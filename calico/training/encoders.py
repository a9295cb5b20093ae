"""The folder of pretrained encoders: made by `calico-pretrain`, read by training runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from calico.config import CalicoConfig
from calico.configfile import read_config, write_config
from calico.data import BuiltDataset
from calico.model.assembly import ImageParts, build_image_parts
from calico.model.bridge import QueryBridge
from calico.model.calico import Calico
from calico.model.checkpoints import copy_weights, read_tensors, save_tensors
from calico.processing import ImageProcessor, Pixels
from calico.runtime import prepare_process
from calico.training.entities import gather_entities
from calico.training.labels import (
    LabelledImage,
    LabelSet,
    label_set,
    labelled_images,
)
from calico.training.pretrain import teach_drawing, teach_qformer, teach_seeing
from calico.training.runlog import RunLog
from mixedparts.errors import InputError, UsageError
from mixedparts.progress import Progress, Silent

WEIGHTS = "encoders.safetensors"
_DRAWING = "drawing.safetensors"
_SECTIONS = ("vision", "semantic", "qformer", "sam")


def pretrain(
    config: CalicoConfig,
    dataset: BuiltDataset,
    folder: Path,
    progress: Progress,
    side_by_side: bool = False,
) -> Path:
    """Make encoders from the train split and write them to `folder`, once they are whole.

    Args:
        config: its `pretraining` says how long.
        dataset: single images come from its pairs.
        folder: must not exist.
        progress: is told how far it has come.
        side_by_side: teach drawing in a second process, for two or more cores.

    Returns:
        `folder`.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        if side_by_side:
            threads = torch.get_num_threads()
            share = max(1, threads // 2)
            torch.set_num_threads(share)
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                drawing = pool.submit(_draw_beside, config, dataset.path, temporary, share)
                weights = _see(config, dataset, folder, progress)
                progress.say("Waiting for the mask encoder, which is taught beside this.")
                drawing.result()
            torch.set_num_threads(threads)
        else:
            weights = _see(config, dataset, folder, progress)
            _draw(config, dataset.path, temporary, progress)
        weights |= read_tensors(temporary / _DRAWING)
        (temporary / _DRAWING).unlink()
        save_tensors(weights, temporary / WEIGHTS)
        write_config(config, temporary / "config.yaml")
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _see(
    config: CalicoConfig, dataset: BuiltDataset, folder: Path, progress: Progress
) -> dict[str, Tensor]:
    """Teach seeing; return the weights of both encoders, the Q-Former and the queries."""
    log = RunLog(folder.with_name(f"{folder.name}.log.jsonl"), config.training.log_every)
    torch.manual_seed(config.pretraining.seed)
    parts = build_image_parts(config)
    images, labels = _labelled(config, dataset, progress)
    teach_seeing(config, parts, images, labels, progress, log)
    features = [
        _global_features(config, parts, [one.pixels for one in images]),
        _global_features(config, parts, [one.pixels.flipped() for one in images]),
    ]
    truth = np.stack([one.truth for one in images] * 2)
    if isinstance(parts.bridge, QueryBridge):
        teach_qformer(config, parts.bridge, torch.cat(features), truth, labels, progress, log)
    return {name: value for name, value in _weights(parts).items() if not _is_drawing(name)}


def _draw(config: CalicoConfig, build: Path, folder: Path, progress: Progress) -> None:
    """Teach drawing; write the weights of SAM's parts to `folder`."""
    log = RunLog(folder / "drawing.log.jsonl", config.training.log_every)
    torch.manual_seed(config.pretraining.seed)
    parts = build_image_parts(config)
    images, labels = _labelled(config, BuiltDataset(build), progress)
    teach_drawing(config, parts, images, labels, progress, log)
    weights = {name: value for name, value in _weights(parts).items() if _is_drawing(name)}
    save_tensors(weights, folder / _DRAWING)


def _draw_beside(config: CalicoConfig, build: Path, folder: Path, threads: int) -> None:
    """Teach drawing in a process of its own."""
    prepare_process(threads)
    _draw(config, build, folder, Silent())


def _labelled(
    config: CalicoConfig, dataset: BuiltDataset, progress: Progress
) -> tuple[list[LabelledImage], LabelSet]:
    entities = gather_entities(dataset.pairs("train"))
    labels = label_set(entities.values())
    processor = ImageProcessor(config)
    return labelled_images(dataset, "train", entities, labels, processor, progress), labels


@torch.inference_mode()
def _global_features(config: CalicoConfig, parts: ImageParts, pictures: Sequence[Pixels]) -> Tensor:
    """Return (N, 1 + patches, C_e) in half precision."""
    processor = ImageProcessor(config)
    batches = [
        parts.encoders.vision(processor.inputs(pictures[start : start + 32]).vision)
        for start in range(0, len(pictures), 32)
    ]
    return torch.cat([batch.last_hidden_state.half() for batch in batches])


def _is_drawing(name: str) -> bool:
    return name.startswith(("encoders.sam.", "grounding."))


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
    if isinstance(parts.bridge, QueryBridge):
        qformer = parts.bridge.qformer.state_dict()
        found.update((f"bridge.qformer.{name}", value) for name, value in qformer.items())
        found["bridge.queries"] = parts.bridge.queries
    return found
