"""The folder of pretrained encoders: made by `calico-pretrain`, read by training runs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from calico.config import CalicoConfig
from calico.configfile import read_config, write_config
from calico.data import BuiltDataset
from calico.model.assembly import ImageParts, build_image_parts
from calico.model.bridge import QueryBridge
from calico.model.calico import Calico
from calico.model.checkpoints import copy_weights, read_tensors, save_tensors
from calico.processing import ImageProcessor, Pixels
from calico.training.entities import gather_entities
from calico.training.labels import (
    LabelledImage,
    LabelSet,
    label_set,
    labelled_images,
)
from calico.training.pretrain import teach_cells, teach_drawing, teach_qformer
from calico.training.processes import share_buffers
from calico.training.runlog import RunLog
from calico.training.warmstart import carry_to_sam, carry_to_semantic
from mixedparts.errors import InputError, UsageError
from mixedparts.progress import Progress

WEIGHTS = "encoders.safetensors"
_DRAWING = "drawing.safetensors"
_SECTIONS = ("vision", "semantic", "qformer", "sam")


def pretrain(
    config: CalicoConfig,
    dataset: BuiltDataset,
    folder: Path,
    progress: Progress,
    accelerator: Accelerator | None = None,
) -> Path:
    """Make encoders from the train split and write them to `folder`, once they are whole.

    Several processes share the batches of the global encoder; then the first one goes on with the
    semantic encoder and the Q-Former while the second one teaches SAM's parts.

    Args:
        config: its `pretraining` says how long.
        dataset: single images come from its pairs.
        folder: must not exist.
        progress: is told how far it has come.
        accelerator: knows the other processes, all of which call this function; None where there
            are none.

    Returns:
        `folder`.
    """
    rank, count = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
    temporary = folder.with_name(f".{folder.name}.tmp")
    log = RunLog(None if rank else _log_file(folder), config.training.log_every)
    if rank == 0:
        shutil.rmtree(temporary, ignore_errors=True)  # of a run that was killed
        temporary.mkdir(parents=True)
    _wait(accelerator)
    torch.manual_seed(config.pretraining.seed)
    parts = build_image_parts(config)
    images, labels = _labelled(config, dataset, progress)
    teach_cells(config, parts, "vision", images, labels, progress, log, (rank, count))
    share_buffers(parts.encoders.vision)
    if rank == min(1, count - 1):
        _draw(config, parts.encoders.vision, images, labels, temporary, progress)
    if rank == 0:
        _go_on_seeing(config, parts, images, labels, progress, log)
        if count > 1:
            progress.say("Waiting for the mask encoder, which is taught beside this.")
    _wait(accelerator)
    if rank == 0:
        seen = {name: value for name, value in _weights(parts).items() if not _is_drawing(name)}
        save_tensors(seen | read_tensors(temporary / _DRAWING), temporary / WEIGHTS)
        (temporary / _DRAWING).unlink()
        write_config(config, temporary / "config.yaml")
        temporary.rename(folder)
    _wait(accelerator)
    return folder


def _log_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.log.jsonl")


def _wait(accelerator: Accelerator | None) -> None:
    if accelerator is not None:
        accelerator.wait_for_everyone()


def _go_on_seeing(
    config: CalicoConfig,
    parts: ImageParts,
    images: list[LabelledImage],
    labels: LabelSet,
    progress: Progress,
    log: RunLog,
) -> None:
    """Teach the semantic encoder and the Q-Former after the global encoder."""
    vision, semantic = parts.encoders.vision, parts.encoders.semantic
    if semantic is not None:  # an ablation may not read it
        if config.pretraining.carry_over:
            carry_to_semantic(vision, semantic)
        teach_cells(config, parts, "semantic", images, labels, progress, log)
    if isinstance(parts.bridge, QueryBridge):
        pictures = [one.pixels for one in images]
        both = [*pictures, *(one.flipped() for one in pictures)]
        features = _global_features(config, parts, both)
        truth = np.stack([one.truth for one in images] * 2)
        teach_qformer(config, parts.bridge, features, truth, labels, progress, log)


def _draw(
    config: CalicoConfig,
    vision: nn.Module,
    images: list[LabelledImage],
    labels: LabelSet,
    folder: Path,
    progress: Progress,
) -> None:
    """Teach SAM's parts, which start from the global encoder; write their weights to `folder`."""
    log = RunLog(folder / "drawing.log.jsonl", config.training.log_every)
    torch.manual_seed(config.pretraining.seed)
    parts = build_image_parts(config)
    if config.pretraining.carry_over:
        carry_to_sam(vision, parts.encoders.sam)
    teach_drawing(config, parts, images, labels, progress, log)
    weights = {name: value for name, value in _weights(parts).items() if _is_drawing(name)}
    save_tensors(weights, folder / _DRAWING)


def _labelled(
    config: CalicoConfig, dataset: BuiltDataset, progress: Progress
) -> tuple[list[LabelledImage], LabelSet]:
    entities = gather_entities(dataset.pairs("train"))
    labels = label_set(entities.values())
    processor = ImageProcessor(config)
    return labelled_images(dataset, "train", entities, labels, processor, progress), labels


@torch.inference_mode()
def _global_features(config: CalicoConfig, parts: ImageParts, pictures: Sequence[Pixels]) -> Tensor:
    """Return what the global encoder says, (N, 1 + patches, C_e) in half precision."""
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
