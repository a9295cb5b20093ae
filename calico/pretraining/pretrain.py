"""Pretraining from end to end: from the train split to a folder of encoders, in four stages.

The global encoder comes first, because the others may start from it and the Q-Former reads its
features. Semantic encoder and Q-Former are then trained side by side by two processes, and SAM's
parts last, by all of them. Every stage seeds torch anew and has random numbers of its own: its
result depends neither on which process trained another stage nor on a kill in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
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
from calico.pretraining.objectives import (
    device_of,
    train_mask_decoder,
    train_patch_labels,
    train_qformer,
)
from calico.pretraining.stages_folder import (
    check_absent,
    discard_finished_stages,
    stages_folder,
)
from calico.pretraining.warm_start import carry_to_sam, carry_to_semantic
from calico.processing.images import ImageProcessor, Pixels
from calico.runtime.distributed import share_buffers
from calico.runtime.run_log import RunLog
from calico.runtime.waiting import wait_for_everyone
from mixedparts.errors import UsageError
from mixedparts.progress import Progress
from mixedparts.storage.writer_lock import writing


def pretrain(
    config: CalicoConfig,
    dataset: BuiltDataset,
    folder: Path,
    progress: Progress,
    accelerator: Accelerator | None = None,
) -> Path:
    """Train encoders on the train split and write them to `folder`, which appears complete.

    Several processes share the batches of the global encoder and of SAM's parts. In between, the
    first process trains the Q-Former and the second one the semantic encoder. Stages that a killed
    run has finished are not trained again.

    Args:
        config: `pretraining` contains the lengths of the stages.
        dataset: the build; single images are taken from its pairs.
        folder: must not exist.
        progress: is advanced by the steps of each stage.
        accelerator: of the run's processes, all of which call this function; None for one process.

    Returns:
        `folder`.

    Raises:
        UsageError: the folder exists, or a batch has fewer images than there are processes.
        InputError: images or samples cannot be read, or there are too many labels.
        EnvironmentFault: another process writes to the folder.
    """
    first = accelerator is None or accelerator.is_main_process
    with writing(folder, progress.log) if first else nullcontext():
        # Again with the lock held: another process may have finished it since the first check.
        if first:
            check_absent(folder)
        return _pretrain(config, dataset, folder, progress, accelerator)


def _pretrain(
    config: CalicoConfig,
    dataset: BuiltDataset,
    folder: Path,
    progress: Progress,
    accelerator: Accelerator | None,
) -> Path:
    rank, count = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
    if config.pretraining.batch_size < count:
        raise UsageError(
            f"a batch of {config.pretraining.batch_size} images cannot be shared by {count}"
            " processes",
            "Raise pretraining.batch_size in --config, or start fewer processes.",
        )
    stages = FinishedStages(stages_folder(folder))
    log = RunLog(None if rank else log_file(folder), config.training.log_every)
    if rank == 0:
        stages.start(_identity(config, dataset))
    _wait(accelerator)
    torch.manual_seed(config.pretraining.seed)
    parts = build_image_parts(config)
    device = accelerator.device if accelerator else torch.device("cpu")
    for module in (parts.encoders, parts.bridge, parts.grounding):
        # In evaluation mode: `train_stage` puts the networks that it trains into training mode.
        module.to(device).eval()
    # No stage trains it: gradients of its weights would only add up from step to step.
    parts.grounding.prompt_encoder.requires_grad_(False)
    images, labels = _labelled(config, dataset, progress)
    pipeline = _Stages(config, parts, images, labels, progress, log, (rank, count), stages)
    pipeline.global_encoder()
    # The second process, or the only one.
    if rank == min(1, count - 1):
        pipeline.semantic_encoder()
    if rank == 0:
        pipeline.qformer()
    # The first process saves the semantic encoder at the end, which the second one has written.
    _wait(accelerator)
    pipeline.mask_decoder()
    if rank == 0:
        pipeline.finish(folder)
    _wait(accelerator)
    return folder


@dataclass(frozen=True, slots=True)
class _Stages:
    """The stages of pretraining, as one process runs them.

    Attributes:
        config: of the model.
        parts: the image side of the model, which is trained in place.
        images: of the train split.
        labels: of the images.
        progress: is advanced by the steps of each stage.
        log: for the losses.
        share: rank of this process and number of processes, for the stages that all of them train.
        stages: files of the finished stages.
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
        """Train the global encoder; all processes share its batches."""
        vision = self.parts.encoders.vision
        if self._done("global", vision.state_dict()):
            return
        self._patch_labels("vision", self.share)
        # Weights are equal in all processes, the statistics of a stem's batch norms are not.
        share_buffers(vision)
        if self.share[0] == 0:
            self.stages.save("global", vision.state_dict())

    def semantic_encoder(self) -> None:
        """Train the semantic encoder in this process alone; an ablation may have none."""
        semantic = self.parts.encoders.semantic
        if semantic is None or self._done("semantic", semantic.state_dict()):
            return
        if self.config.pretraining.carry_over:
            carry_to_semantic(self.parts.encoders.vision, semantic)
        self._patch_labels("semantic", (0, 1))
        self.stages.save("semantic", semantic.state_dict())

    def qformer(self) -> None:
        """Train the Q-Former on features of the global encoder, in this process alone."""
        projector = self.parts.bridge
        if not isinstance(projector, QFormerProjector) or self._done(
            "qformer", qformer_weights(projector)
        ):
            return
        torch.manual_seed(self.config.pretraining.seed)
        # The global encoder is frozen here, so its features are computed once, of every image and
        # of its mirror image, in place of augmentation in each step.
        plain = [image.pixels for image in self.images]
        both = [*plain, *(pixels.flipped() for pixels in plain)]
        features = _global_features(self.config, self.parts, both)
        presence = np.stack([image.presence for image in self.images] * 2)
        common = (features, presence, self.labels, self.progress, self.log)
        train_qformer(self.config, projector, *common)
        self.stages.save("qformer", qformer_weights(projector))

    def mask_decoder(self) -> None:
        """Train SAM's encoder and mask decoder; all processes share their batches."""
        encoders = self.parts.encoders
        if self.config.pretraining.carry_over:
            carry_to_sam(encoders.vision, encoders.sam)
        torch.manual_seed(self.config.pretraining.seed)
        common = (self.images, self.labels, self.progress, self.log)
        train_mask_decoder(self.config, self.parts, *common, self.share)
        share_buffers(encoders.sam)

    def finish(self, folder: Path) -> None:
        """Write the encoders to their folder and remove the files of the stages."""
        # Another process has trained the semantic encoder.
        semantic = self.parts.encoders.semantic
        if semantic is not None:
            self.stages.load("semantic", semantic.state_dict())
        save_encoders(self.parts, self.config, folder)
        discard_finished_stages(folder)

    def _done(self, stage: str, weights: Mapping[str, Tensor]) -> bool:
        """Load the weights of a stage if an earlier run has finished it; return whether it has."""
        if not self.stages.has(stage):
            return False
        self.stages.load(stage, weights)
        self.progress.log(f"pretraining: the stage '{stage}' was finished before")
        return True

    def _patch_labels(self, which: Literal["vision", "semantic"], share: tuple[int, int]) -> None:
        # The head is discarded, but its initial values depend on the seed.
        torch.manual_seed(self.config.pretraining.seed)
        common = (self.images, self.labels, self.progress, self.log)
        train_patch_labels(self.config, self.parts, which, *common, share)


def _identity(config: CalicoConfig, dataset: BuiltDataset) -> dict[str, Any]:
    """Return the JSON values that decide the result of pretraining."""
    sections = {name: asdict(getattr(config, name)) for name in (*SECTIONS, "pretraining")}
    return {"config": sections, "dataset": dataset.build.build_id}


def _wait(accelerator: Accelerator | None) -> None:
    if accelerator is not None:
        wait_for_everyone(accelerator)


def _labelled(
    config: CalicoConfig, dataset: BuiltDataset, progress: Progress
) -> tuple[list[LabelledImage], LabelSet]:
    entities = gather_entities(dataset.pairs("train"))
    labels = label_set(entities.values())
    processor = ImageProcessor(config)
    workers = config.training.loader_workers
    images = labelled_images(dataset, "train", entities, labels, processor, progress, workers)
    return images, labels


@torch.inference_mode()
def _global_features(config: CalicoConfig, parts: ImageParts, images: Sequence[Pixels]) -> Tensor:
    """Return features of the global encoder, (N, 1 + patches, C_e) float16."""
    processor, vision = ImageProcessor(config), parts.encoders.vision
    device = device_of(vision)
    batches = [
        vision(processor.part_inputs("vision", images[start : start + 32], device))
        for start in range(0, len(images), 32)
    ]
    # In half precision they take half the memory: all images are held at once, on the CPU.
    return torch.cat([batch.last_hidden_state.half().cpu() for batch in batches])
