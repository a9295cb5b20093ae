"""The folder of pretrained encoders: made by `calico-pretrain`, read by training runs."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

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
from calico.model.tensor_files import copy_weights, read_tensors, save_tensors
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
from calico.training.stages import FinishedStages
from calico.training.warmstart import carry_to_sam, carry_to_semantic
from mixedparts.build_manifest import read_manifest
from mixedparts.errors import InputError, UsageError
from mixedparts.progress import Progress

WEIGHTS = "encoders.safetensors"
_SECTIONS = ("vision", "semantic", "qformer", "sam")


def pretrain(
    config: CalicoConfig,
    dataset: BuiltDataset,
    folder: Path,
    progress: Progress,
    accelerator: Accelerator | None = None,
) -> Path:
    """Make encoders from the train split and write them to `folder`, once they are whole.

    Several processes share the batches of the global encoder and of SAM's parts; in between the
    first one teaches the Q-Former and the second one the semantic encoder. What a killed run has
    finished of these stages is not done again.

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
    stages = FinishedStages(folder.with_name(f".{folder.name}.begun"))
    log = RunLog(None if rank else _log_file(folder), config.training.log_every)
    if rank == 0:
        stages.begin(_identity(config, dataset))
    _wait(accelerator)
    torch.manual_seed(config.pretraining.seed)
    parts = build_image_parts(config)
    for module in (parts.encoders, parts.bridge, parts.grounding):
        module.eval()  # a stage puts what it teaches into training mode
    images, labels = _labelled(config, dataset, progress)
    lessons = _Lessons(config, parts, images, labels, progress, log, (rank, count), stages)
    lessons.global_encoder()
    if rank == min(1, count - 1):
        lessons.semantic_encoder()
    if rank == 0:
        lessons.qformer()
    _wait(accelerator)
    lessons.drawing()
    if rank == 0:
        lessons.finish(folder)
    _wait(accelerator)
    return folder


@dataclass(frozen=True, slots=True)
class _Lessons:
    """The stages of pretraining, each seeded anew, so that none depends on who does another.

    Attributes:
        share: this process and how many there are, for the stages that all take part in.
        stages: that are finished; a process that reads one has waited for who wrote it.
    """

    config: CalicoConfig
    parts: ImageParts
    images: list[LabelledImage]
    labels: LabelSet
    progress: Progress
    log: RunLog
    share: tuple[int, int]
    stages: FinishedStages

    def global_encoder(self) -> None:
        """Teach the global encoder; all processes share its batches."""
        vision = self.parts.encoders.vision
        if self._done("global", vision.state_dict()):
            return
        self._cells("vision", self.share)
        share_buffers(vision)
        if self.share[0] == 0:
            self.stages.keep("global", vision.state_dict())

    def semantic_encoder(self) -> None:
        """Teach the semantic encoder, if the model has one; others read it from the stages."""
        semantic = self.parts.encoders.semantic
        if semantic is None or self._done("semantic", semantic.state_dict()):
            return  # an ablation may not read it
        if self.config.pretraining.carry_over:
            carry_to_semantic(self.parts.encoders.vision, semantic)
        self._cells("semantic", (0, 1))
        self.stages.keep("semantic", semantic.state_dict())

    def qformer(self) -> None:
        """Teach the Q-Former on features of the global encoder."""
        bridge = self.parts.bridge
        if not isinstance(bridge, QueryBridge) or self._done("qformer", _bridge_weights(bridge)):
            return
        torch.manual_seed(self.config.pretraining.seed)
        pictures = [one.pixels for one in self.images]
        both = [*pictures, *(one.flipped() for one in pictures)]
        features = _global_features(self.config, self.parts, both)
        truth = np.stack([one.truth for one in self.images] * 2)
        teach_qformer(self.config, bridge, features, truth, self.labels, self.progress, self.log)
        self.stages.keep("qformer", _bridge_weights(bridge))

    def drawing(self) -> None:
        """Teach SAM's parts, which may start from the global encoder; all processes take part."""
        encoders = self.parts.encoders
        if self.config.pretraining.carry_over:
            carry_to_sam(encoders.vision, encoders.sam)
        torch.manual_seed(self.config.pretraining.seed)
        known = (self.images, self.labels, self.progress, self.log)
        teach_drawing(self.config, self.parts, *known, self.share)
        share_buffers(encoders.sam)

    def finish(self, folder: Path) -> None:
        """Put everything into a folder, once it is whole; the stages go."""
        semantic = self.parts.encoders.semantic
        if semantic is not None:
            self.stages.load("semantic", semantic.state_dict())
        temporary = folder.with_name(f".{folder.name}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)  # of a run that was killed
        temporary.mkdir()
        save_tensors(_weights(self.parts), temporary / WEIGHTS)
        write_config(self.config, temporary / "config.yaml")
        temporary.rename(folder)
        shutil.rmtree(self.stages.folder)

    def _done(self, stage: str, weights: Mapping[str, Tensor]) -> bool:
        """Take the weights of a stage that an earlier run finished."""
        if not self.stages.has(stage):
            return False
        self.stages.load(stage, weights)
        self.progress.say(f"pretraining: the stage '{stage}' was finished before")
        return True

    def _cells(self, which: Literal["vision", "semantic"], share: tuple[int, int]) -> None:
        torch.manual_seed(self.config.pretraining.seed)
        known = (self.images, self.labels, self.progress, self.log)
        teach_cells(self.config, self.parts, which, *known, share)


def _identity(config: CalicoConfig, dataset: BuiltDataset) -> dict[str, Any]:
    """Return what decides how encoders come out, in JSON values."""
    sections = {name: asdict(getattr(config, name)) for name in (*_SECTIONS, "pretraining")}
    manifest = read_manifest(dataset.path) or {}
    return {"config": sections, "dataset": manifest.get("build_id", str(dataset.path))}


def _log_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.log.jsonl")


def _wait(accelerator: Accelerator | None) -> None:
    if accelerator is not None:
        accelerator.wait_for_everyone()


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
        found |= _bridge_weights(parts.bridge)
    return found


def _bridge_weights(bridge: QueryBridge) -> dict[str, Tensor]:
    qformer = bridge.qformer.state_dict()
    found: dict[str, Tensor] = {f"bridge.qformer.{name}": value for name, value in qformer.items()}
    return {**found, "bridge.queries": bridge.queries}
