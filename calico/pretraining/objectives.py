"""How encoders are taught where there are no published ones: on single images.

The encoders label the cells of their grids, SAM's parts also draw masks by label, and the Q-Former
names what an image shows.
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
    """Train the global or the semantic encoder, in place, to label the cells of its grid.

    Args:
        config: of the model.
        parts: one of its encoders is changed.
        which: of them.
        images, labels: what is learnt from.
        progress: is told how far it has come.
        log: gets the losses.
        share: `StageSpec.part` and `StageSpec.parts`.
    """
    settings = config.pretraining
    processor = ImageProcessor(config)
    encoder: nn.Module = getattr(parts.encoders, which)
    shape = config.vision if which == "vision" else config.semantic
    grid = shape.image_size // shape.patch_size
    counts = (len(labels.classes), len(labels.parts))
    head = DenseHead(shape.hidden_size, *counts)

    def losses(batch: Sequence[int], rng: np.random.Generator) -> Losses:
        shown = [augmented(images[index], rng.random(4)) for index in batch]
        pixels = getattr(processor.inputs([one.pixels for one in shown]), which)
        states = encoder(pixels).last_hidden_state[:, -grid * grid :]
        features = states.transpose(1, 2).reshape(len(shown), -1, grid, grid)
        maps = torch.from_numpy(np.stack([one.direct for one in shown]))
        truth = patch_labels(maps, grid, *counts)
        return {"cells": head.loss(features, truth, settings.background_weight)}

    train_stage(
        StageSpec(
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
        ),
        settings,
        progress,
        log,
    )


def train_mask_decoder(
    config: CalicoConfig,
    parts: ImageParts,
    images: Sequence[LabelledImage],
    labels: LabelSet,
    progress: Progress,
    log: RunLog,
    share: tuple[int, int] = (0, 1),
) -> None:
    """Train SAM's encoder and mask decoder, in place: cells to label, masks to draw by label.

    Arguments as `train_patch_labels`.
    """
    settings = config.pretraining
    processor = ImageProcessor(config)
    encoder, grounding = parts.encoders.sam, parts.grounding
    counts = (len(labels.classes), len(labels.parts))
    head = DenseHead(config.sam.prompt_size, *counts, upscale=4)
    prompts = LabelPrompts(labels.pairs, config.sam.prompt_size)
    grid = config.sam.mask_size

    def losses(batch: Sequence[int], rng: np.random.Generator) -> Losses:
        shown = [augmented(images[index], rng.random(4)) for index in batch]
        inputs = processor.inputs([one.pixels for one in shown])
        embeddings = encoder(inputs.sam).last_hidden_state
        maps = torch.from_numpy(np.stack([one.square for one in shown]))
        truth = patch_labels(maps, grid, *counts)
        tasks = _mask_tasks(shown, maps, labels, settings.prompted_masks, grid, rng)
        logits = grounding.decode(prompts(tasks.label), embeddings, tasks.image)
        valid = torch.ones_like(tasks.masks)
        return {
            "cells": head.loss(embeddings, truth, settings.background_weight),
            "mask": 2 * per_mask_bce(logits, tasks.masks, valid).mean(),
            "dice": 2 * per_mask_dice(logits, tasks.masks, valid).mean(),
        }

    decoder = grounding.mask_decoder.named_parameters()
    reached = [w for name, w in decoder if not name.startswith("iou_prediction_head")]
    weights = [*encoder.parameters(), *reached, *head.parameters(), *prompts.parameters()]
    train_stage(
        StageSpec(
            "mask encoder and decoder",
            weights,
            (encoder, grounding.mask_decoder, prompts.mix),
            len(images),
            settings.batch_size,
            settings.mask_steps,
            settings.learning_rate,
            Purpose.MASKS,
            losses,
            *share,
        ),
        settings,
        progress,
        log,
    )


def train_qformer(
    config: CalicoConfig,
    bridge: QFormerProjector,
    features: Tensor,
    known: NDArray[np.int8],
    labels: LabelSet,
    progress: Progress,
    log: RunLog,
) -> None:
    """Train the Q-Former and its queries, in place, to say which labels an image shows.

    Args:
        config: of the model.
        bridge: its Q-Former and queries are changed.
        features: (N, 1 + patches, C_e) of the frozen global encoder.
        known: (N, labels), 1 shown, 0 not shown, -1 not known, which teaches nothing.
        labels: what is told apart.
        progress: is told how far it has come.
        log: gets the losses.
    """
    settings = config.pretraining
    head = TokenLabels(config.qformer.queries, config.qformer.hidden_size, len(labels.pairs))
    truth = torch.from_numpy(known).float()

    def losses(batch: Sequence[int], _: np.random.Generator) -> Losses:
        rows = torch.tensor(batch)
        queries = bridge.queries.expand(len(rows), -1, -1)
        logits = head(bridge.query(features[rows].float(), queries))
        told = truth[rows]
        weight = (told >= 0).float()
        entropy = F.binary_cross_entropy_with_logits(
            logits, told.clamp_min(0), weight, reduction="sum"
        )
        return {"labels": 10 * entropy / weight.sum()}

    weights = [*bridge.qformer.parameters(), bridge.queries, *head.parameters()]
    train_stage(
        StageSpec(
            "Q-Former",
            weights,
            (bridge.qformer,),
            len(known),
            settings.qformer_batch_size,
            settings.qformer_steps,
            settings.qformer_learning_rate,
            Purpose.QFORMER,
            losses,
        ),
        settings,
        progress,
        log,
    )


@dataclass(frozen=True, slots=True)
class _MaskTasks:
    """Masks to draw: rows of the images (M,), label indices (M,), and the truth (M, g, g)."""

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
    """Draw labels that the images show, and cut their masks out of the maps (N, 2, S, S)."""
    choices = [(row, label) for row, one in enumerate(images) for label in one.masked]
    drawn = rng.permutation(len(choices))[:count]
    image = torch.tensor([choices[index][0] for index in drawn])
    label = torch.tensor([choices[index][1] for index in drawn])
    pairs = torch.tensor(labels.pairs)[label]
    of_class = maps[image, 0] == (pairs[:, 0] + 1)[:, None, None]
    of_part = maps[image, 1] == (pairs[:, 1] + 1 + BARE)[:, None, None]
    whole = (pairs[:, 1] < 0)[:, None, None]
    masks = (of_class & (of_part | whole)).float()[:, None]
    return _MaskTasks(image, label, F.avg_pool2d(masks, maps.shape[-1] // grid)[:, 0])
