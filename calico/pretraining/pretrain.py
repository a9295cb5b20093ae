"""Pretraining from end to end: images in, a folder of encoders out, resumable by stages."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from calico.config.calico import CalicoConfig
from calico.dataset.pairs import BuiltDataset
from calico.model.assembly import ImageParts, build_image_parts
from calico.model.projector import QFormerProjector
from calico.pretraining.encoder_files import (
    SECTIONS,
    FinishedStages,
    log_file,
    qformer_weights,
    save_encoders,
)
from calico.pretraining.image_entities import gather_entities
from calico.pretraining.label_maps import LabelledImage, LabelSet, label_set, labelled_images
from calico.pretraining.objectives import train_mask_decoder, train_patch_labels, train_qformer
from calico.pretraining.warm_start import carry_to_sam, carry_to_semantic
from calico.processing.images import ImageProcessor, Pixels
from calico.runtime.distributed import share_buffers
from calico.runtime.run_log import RunLog
from mixedparts.progress import Progress


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
    log = RunLog(None if rank else log_file(folder), config.training.log_every)
    if rank == 0:
        stages.start(_identity(config, dataset))
    _wait(accelerator)
    torch.manual_seed(config.pretraining.seed)
    parts = build_image_parts(config)
    for module in (parts.encoders, parts.bridge, parts.grounding):
        module.eval()  # a stage puts what it teaches into training mode
    images, labels = _labelled(config, dataset, progress)
    course = _Course(config, parts, images, labels, progress, log, (rank, count), stages)
    course.global_encoder()
    if rank == min(1, count - 1):
        course.semantic_encoder()
    if rank == 0:
        course.qformer()
    _wait(accelerator)
    course.drawing()
    if rank == 0:
        course.finish(folder)
    _wait(accelerator)
    return folder


@dataclass(frozen=True, slots=True)
class _Course:
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
            self.stages.save("global", vision.state_dict())

    def semantic_encoder(self) -> None:
        """Teach the semantic encoder, if the model has one; others read it from the stages."""
        semantic = self.parts.encoders.semantic
        if semantic is None or self._done("semantic", semantic.state_dict()):
            return  # an ablation may not read it
        if self.config.pretraining.carry_over:
            carry_to_semantic(self.parts.encoders.vision, semantic)
        self._cells("semantic", (0, 1))
        self.stages.save("semantic", semantic.state_dict())

    def qformer(self) -> None:
        """Teach the Q-Former on features of the global encoder."""
        bridge = self.parts.bridge
        if not isinstance(bridge, QFormerProjector) or self._done(
            "qformer", qformer_weights(bridge)
        ):
            return
        torch.manual_seed(self.config.pretraining.seed)
        pictures = [one.pixels for one in self.images]
        both = [*pictures, *(one.flipped() for one in pictures)]
        features = _global_features(self.config, self.parts, both)
        truth = np.stack([one.truth for one in self.images] * 2)
        train_qformer(self.config, bridge, features, truth, self.labels, self.progress, self.log)
        self.stages.save("qformer", qformer_weights(bridge))

    def drawing(self) -> None:
        """Teach SAM's parts, which may start from the global encoder; all processes take part."""
        encoders = self.parts.encoders
        if self.config.pretraining.carry_over:
            carry_to_sam(encoders.vision, encoders.sam)
        torch.manual_seed(self.config.pretraining.seed)
        known = (self.images, self.labels, self.progress, self.log)
        train_mask_decoder(self.config, self.parts, *known, self.share)
        share_buffers(encoders.sam)

    def finish(self, folder: Path) -> None:
        """Put everything into a folder, once it is whole; the stages go."""
        semantic = self.parts.encoders.semantic
        if semantic is not None:
            self.stages.load("semantic", semantic.state_dict())
        save_encoders(self.parts, self.config, folder)
        shutil.rmtree(self.stages.folder)

    def _done(self, stage: str, weights: Mapping[str, Tensor]) -> bool:
        """Take the weights of a stage that an earlier run finished."""
        if not self.stages.has(stage):
            return False
        self.stages.load(stage, weights)
        self.progress.log(f"pretraining: the stage '{stage}' was finished before")
        return True

    def _cells(self, which: Literal["vision", "semantic"], share: tuple[int, int]) -> None:
        torch.manual_seed(self.config.pretraining.seed)
        known = (self.images, self.labels, self.progress, self.log)
        train_patch_labels(self.config, self.parts, which, *known, share)


def _identity(config: CalicoConfig, dataset: BuiltDataset) -> dict[str, Any]:
    """Return what decides how encoders come out, in JSON values."""
    sections = {name: asdict(getattr(config, name)) for name in (*SECTIONS, "pretraining")}
    return {"config": sections, "dataset": dataset.build.build_id}


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
