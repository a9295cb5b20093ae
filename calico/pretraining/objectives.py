"""Pretraining objectives of the encoders, on single images with labels and masks.

All encoders are trained to label their patches. SAM's encoder and decoder are also trained to
segment by label, and the Q-Former to predict the labels of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from calico.config.calico import CalicoConfig
from calico.dataset.sampler import Purpose
from calico.model.assembly import ImageParts
from calico.model.losses import per_mask_bce, per_mask_dice
from calico.model.projector import QFormerProjector
from calico.pretraining.heads import DenseHead, LabelPrompts, TokenLabels, patch_labels
from calico.pretraining.label_maps import BARE, LabelledImage, LabelSet, augmented
from calico.pretraining.stage_loop import Losses, StageSpec, train_stage
from calico.processing.images import ImageProcessor
from calico.runtime.run_log import RunLog
from mixedparts.progress import Progress


def train_patch_labels(
    config: CalicoConfig,
    parts: ImageParts,
    which: Literal["vision", "semantic"],
    images: Sequence[LabelledImage],
    labels: LabelSet,
    progress: Progress,
    log: RunLog,
    share: tuple[int, int] = (0, 1),
) -> None:
    """Train the global or the semantic encoder, in place, to label its patches.

    Args:
        config: of the model.
        parts: contains the encoder.
        which: encoder, "vision" for the global one.
        images: to train on.
        labels: of the images.
        progress: is advanced by one for each step.
        log: for the losses.
        share: `StageSpec.part` and `StageSpec.parts`.
    """
    settings = config.pretraining
    processor = ImageProcessor(config)
    encoder: nn.Module = getattr(parts.encoders, which)
    shape = config.vision if which == "vision" else config.semantic
    grid = shape.image_size // shape.patch_size
    counts = (len(labels.classes), len(labels.parts))
    device = device_of(encoder)
    head = DenseHead(shape.hidden_size, *counts).to(device)

    def losses(batch: Sequence[int], rng: np.random.Generator) -> Losses:
        shown = [augmented(images[index], rng.random(4)) for index in batch]
        pixels = processor.part_inputs(which, [one.pixels for one in shown], device)
        # Class and register tokens come before the patches.
        states = encoder(pixels).last_hidden_state[:, -grid * grid :]
        features = states.transpose(1, 2).reshape(len(shown), -1, grid, grid)
        maps = torch.from_numpy(np.stack([one.direct for one in shown])).to(device)
        targets = patch_labels(maps, grid, *counts)
        return {"cells": head.loss(features, targets, settings.background_weight)}

    stage = StageSpec(
        "global encoder" if which == "vision" else "semantic encoder",
        [*encoder.parameters(), *head.parameters()],
        (encoder,),
        len(images),
        settings.batch_size,
        settings.steps if which == "vision" else settings.semantic_steps,
        settings.learning_rate,
        Purpose.VISION if which == "vision" else Purpose.SEMANTIC,
        losses,
        *share,
    )
    train_stage(stage, settings, progress, log)


def train_mask_decoder(
    config: CalicoConfig,
    parts: ImageParts,
    images: Sequence[LabelledImage],
    labels: LabelSet,
    progress: Progress,
    log: RunLog,
    share: tuple[int, int] = (0, 1),
) -> None:
    """Train SAM's encoder and mask decoder, in place, to label patches and to segment by label.

    Args:
        config: of the model.
        parts: contains the encoder and the decoder.
        images: to train on.
        labels: of the images.
        progress: is advanced by one for each step.
        log: for the losses.
        share: `StageSpec.part` and `StageSpec.parts`.
    """
    settings = config.pretraining
    processor = ImageProcessor(config)
    encoder, grounding = parts.encoders.sam, parts.grounding
    counts = (len(labels.classes), len(labels.parts))
    device = device_of(encoder)
    head = DenseHead(config.sam.prompt_size, *counts, upscale=4).to(device)
    prompts = LabelPrompts(labels.pairs, config.sam.prompt_size).to(device)
    grid = config.sam.mask_size

    def losses(batch: Sequence[int], rng: np.random.Generator) -> Losses:
        shown = [augmented(images[index], rng.random(4)) for index in batch]
        pixels = processor.part_inputs("sam", [one.pixels for one in shown], device)
        embeddings = encoder(pixels).last_hidden_state
        maps = torch.from_numpy(np.stack([one.square for one in shown])).to(device)
        targets = patch_labels(maps, grid, *counts)
        tasks = _mask_tasks(shown, maps, labels, settings.prompted_masks, grid, rng)
        logits = grounding.decode(prompts(tasks.label), embeddings, tasks.image)
        valid = torch.ones_like(tasks.masks)  # padding counts too: masks are empty there
        return {
            "cells": head.loss(embeddings, targets, settings.background_weight),
            "mask": 2 * per_mask_bce(logits, tasks.masks, valid).mean(),
            "dice": 2 * per_mask_dice(logits, tasks.masks, valid).mean(),
        }

    decoder = _trained_by_masks(grounding.mask_decoder)
    stage = StageSpec(
        "mask encoder and decoder",
        [*encoder.parameters(), *decoder, *head.parameters(), *prompts.parameters()],
        (encoder, grounding.mask_decoder, prompts.mix),
        len(images),
        settings.batch_size,
        settings.mask_steps,
        settings.learning_rate,
        Purpose.MASKS,
        losses,
        *share,
    )
    train_stage(stage, settings, progress, log)


def device_of(module: nn.Module) -> torch.device:
    """Return the device of a module's weights; all of them are on one."""
    return next(module.parameters()).device


def _trained_by_masks(decoder: nn.Module) -> list[nn.Parameter]:
    # No loss reaches the IoU head. It is left out, because `mean_gradients` gives every weight a
    # gradient, and AdamW would then decay it with several processes and not with one.
    named = decoder.named_parameters()
    return [weight for name, weight in named if not name.startswith("iou_prediction_head")]


def train_qformer(
    config: CalicoConfig,
    projector: QFormerProjector,
    features: Tensor,
    presence: NDArray[np.int8],
    labels: LabelSet,
    progress: Progress,
    log: RunLog,
) -> None:
    """Train the Q-Former and its queries, in place, to predict the labels that an image shows.

    Args:
        config: of the model.
        projector: contains the Q-Former and the queries.
        features: (N, 1 + patches, C_e) float of the frozen global encoder, on the CPU.
        presence: (N, labels): 1 visible, 0 not visible, -1 unknown, which has no loss.
        labels: of the images.
        progress: is advanced by one for each step.
        log: for the losses.
    """
    settings = config.pretraining
    device = device_of(projector)
    head = TokenLabels(config.qformer.queries, config.qformer.hidden_size, len(labels.pairs))
    head.to(device)
    targets = torch.from_numpy(presence).float()

    def losses(batch: Sequence[int], _: np.random.Generator) -> Losses:
        rows = torch.tensor(batch)
        queries = projector.queries.expand(len(rows), -1, -1)
        logits = head(projector.query(features[rows].to(device).float(), queries))
        target = targets[rows].to(device)
        # Unknown labels have weight 0; the target that `clamp_min` gives them does not matter.
        weight = (target >= 0).float()
        entropy = F.binary_cross_entropy_with_logits(
            logits, target.clamp_min(0), weight, reduction="sum"
        )
        return {"labels": 10 * entropy / weight.sum()}

    weights = [*projector.qformer.parameters(), projector.queries, *head.parameters()]
    stage = StageSpec(
        "Q-Former",
        weights,
        (projector.qformer,),
        len(presence),
        settings.qformer_batch_size,
        settings.qformer_steps,
        settings.qformer_learning_rate,
        Purpose.QFORMER,
        losses,
    )
    train_stage(stage, settings, progress, log)


@dataclass(frozen=True, slots=True)
class _MaskTasks:
    """Masks to predict.

    Attributes:
        image: (M,) int64, index of the image in its batch.
        label: (M,) int64, index into `LabelSet.pairs`.
        masks: (M, g, g) float32 in [0, 1], the ground truth on the decoder's grid.
    """

    image: Tensor
    label: Tensor
    masks: Tensor


def _mask_tasks(
    images: Sequence[LabelledImage],
    maps: Tensor,
    labels: LabelSet,
    count: int,
    grid: int,
    rng: np.random.Generator,
) -> _MaskTasks:
    """Sample labels that the images show, and take their masks from the maps (N, 2, S, S)."""
    choices = [(row, label) for row, one in enumerate(images) for label in one.masked]
    sampled = rng.permutation(len(choices))[:count]
    image = torch.tensor([choices[index][0] for index in sampled], device=maps.device)
    label = torch.tensor([choices[index][1] for index in sampled], device=maps.device)
    pairs = torch.tensor(labels.pairs, device=maps.device)[label]
    # Values of the maps: 1 + class index, 2 + part index.
    of_class = maps[image, 0] == (pairs[:, 0] + 1)[:, None, None]
    of_part = maps[image, 1] == (pairs[:, 1] + 1 + BARE)[:, None, None]
    whole = (pairs[:, 1] < 0)[:, None, None]
    masks = (of_class & (of_part | whole)).float()[:, None]
    # The mean over a patch is the share that the mask covers, as `ImageProcessor.patch_mask`.
    return _MaskTasks(image, label, F.avg_pool2d(masks, maps.shape[-1] // grid)[:, 0])
