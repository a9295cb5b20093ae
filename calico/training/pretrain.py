"""Makes encoders where there are no published ones: on single images, with labels and masks.

Two steps, as the large models were made: the three encoders and SAM's decoder first, then the
Q-Former on top of the frozen global encoder. Everything is named as in the assembled model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from calico.config import CalicoConfig
from calico.model.assembly import ImageParts, build_image_parts
from calico.model.losses import per_mask_bce, per_mask_dice
from calico.processing import ImageProcessor
from calico.training.heads import DenseHead, LabelPrompts, TokenLabels, grid_labels
from calico.training.labels import (
    BARE,
    LabelledImage,
    LabelSet,
    augmented,
)
from calico.training.runlog import RunLog
from calico.training.schedule import (
    PRETRAIN_EPOCH,
    PRETRAIN_STEP,
    QFORMER_EPOCH,
    Sampler,
    build_optimizer,
    generator,
    rate_factor,
    set_rate,
    take_step,
)
from mixedparts.progress import Progress


@dataclass(frozen=True, slots=True)
class _MaskTasks:
    """Masks that the decoder has to draw: image row, label index, and the (M, g, g) truth."""

    image: Tensor
    label: Tensor
    masks: Tensor


class EncoderPretraining(nn.Module):
    """The encoders and SAM's decoder with the heads that teach them."""

    def __init__(self, config: CalicoConfig, parts: ImageParts, labels: LabelSet) -> None:
        super().__init__()
        classes, names = len(labels.classes), len(labels.parts)
        self.encoders = parts.encoders
        self.grounding = parts.grounding
        self.labels = labels
        self.settings = config.pretraining
        self.grids = (
            config.vision.image_size // config.vision.patch_size,
            config.semantic.image_size // config.semantic.patch_size,
            config.sam.mask_size,
        )
        self.vision_head = DenseHead(config.vision.hidden_size, classes, names)
        self.semantic_head = DenseHead(config.semantic.hidden_size, classes, names)
        self.sam_head = DenseHead(config.sam.prompt_size, classes, names, upscale=4)
        self.prompts = LabelPrompts(labels.pairs, config.sam.prompt_size)

    def forward(
        self, images: Sequence[LabelledImage], processor: ImageProcessor, rng: np.random.Generator
    ) -> dict[str, Tensor]:
        """Return the losses of a batch by name; their sum is differentiated."""
        features = self.encoders(processor.inputs([one.pixels for one in images]))
        direct = torch.from_numpy(np.stack([one.direct for one in images]))
        square = torch.from_numpy(np.stack([one.square for one in images]))
        counts = (len(self.labels.classes), len(self.labels.parts))
        weight = self.settings.background_weight
        heads = (
            ("vision", self.vision_head, _grid(features.vision[:, 1:], self.grids[0]), direct),
            ("semantic", self.semantic_head, _grid(features.semantic, self.grids[1]), direct),
            ("sam", self.sam_head, features.sam, square),
        )
        losses: dict[str, Tensor] = {}
        for (name, head, states, maps), grid in zip(heads, self.grids, strict=True):
            losses[name] = head.loss(states, grid_labels(maps, grid, *counts), weight)
        tasks = self._mask_tasks(images, square, rng)
        logits = self.grounding.decode(self.prompts(tasks.label), features.sam, tasks.image)
        valid = torch.ones_like(tasks.masks)
        losses["mask"] = 2 * per_mask_bce(logits, tasks.masks, valid).mean()
        losses["dice"] = 2 * per_mask_dice(logits, tasks.masks, valid).mean()
        return losses

    def _mask_tasks(
        self, images: Sequence[LabelledImage], square: Tensor, rng: np.random.Generator
    ) -> _MaskTasks:
        """Draw labels that the images show, and cut their masks out of the maps."""
        choices = [(row, label) for row, one in enumerate(images) for label in one.present]
        drawn = rng.permutation(len(choices))[: self.settings.prompted_masks]
        image = torch.tensor([choices[index][0] for index in drawn])
        label = torch.tensor([choices[index][1] for index in drawn])
        pairs = torch.tensor(self.labels.pairs)[label]
        maps = square[image]
        of_class = maps[:, 0] == (pairs[:, 0] + 1)[:, None, None]
        of_part = maps[:, 1] == (pairs[:, 1] + 1 + BARE)[:, None, None]
        whole = (pairs[:, 1] < 0)[:, None, None]
        masks = (of_class & (of_part | whole)).float()[:, None]
        step = masks.shape[-1] // self.grids[2]
        return _MaskTasks(image, label, F.avg_pool2d(masks, step)[:, 0])


def pretrain_encoders(
    config: CalicoConfig,
    images: Sequence[LabelledImage],
    labels: LabelSet,
    progress: Progress,
    log: RunLog,
) -> ImageParts:
    """Train the encoders and SAM's decoder with dense heads and label prompts.

    Returns:
        the parts, in evaluation mode.
    """
    settings = config.pretraining
    torch.manual_seed(settings.seed)
    parts = build_image_parts(config)
    module = EncoderPretraining(config, parts, labels)
    module.train()
    processor = ImageProcessor(config)
    named = list(_used_weights(module))
    optimizer = build_optimizer(
        named, settings.learning_rate, settings.betas, settings.weight_decay
    )
    weights = [weight for _, weight in named]
    sampler = Sampler(len(images), settings.batch_size, settings.seed, PRETRAIN_EPOCH)
    progress.start("pretraining encoders", settings.steps, "steps")
    for step in range(settings.steps):
        rng = generator(settings.seed, PRETRAIN_STEP, step)
        batch = [augmented(images[index], rng.random(4)) for index in sampler.batch(step)]
        factor = rate_factor(step, settings.steps, settings.warmup_steps, "cosine")
        set_rate(optimizer, settings.learning_rate * factor)
        losses = module(batch, processor, rng)
        total = torch.stack(list(losses.values())).sum()
        norm = take_step(total, optimizer, weights, settings.clip)
        values = {name: float(value.detach()) for name, value in losses.items()}
        log.add("encoders", step + 1, {**values, "norm": norm}, step + 1 == settings.steps)
        progress.advance()
    progress.finish()
    module.eval()
    return parts


def pretrain_qformer(
    config: CalicoConfig,
    parts: ImageParts,
    features: Tensor,
    present: Sequence[tuple[int, ...]],
    labels: LabelSet,
    progress: Progress,
    log: RunLog,
) -> None:
    """Train the Q-Former and its queries to say which labels an image shows.

    Args:
        config: of the model.
        parts: their Q-Former and queries are changed.
        features: (N, 1 + patches, C_e) of the frozen global encoder.
        present: indices into `labels.pairs` for each of the N rows.
        labels: what is told apart.
        progress: is told how far it has come.
        log: gets the losses.
    """
    settings = config.pretraining
    torch.manual_seed(settings.seed + 1)
    bridge = parts.bridge
    head = TokenLabels(config.qformer.queries, config.qformer.hidden_size, len(labels.pairs))
    truth = torch.zeros(len(present), len(labels.pairs))
    for row, indices in enumerate(present):
        truth[row, list(indices)] = 1
    named = [*bridge.qformer.named_parameters(), *head.named_parameters()]
    named.append(("queries", bridge.queries))
    weights = [weight for _, weight in named]
    optimizer = build_optimizer(
        named, settings.qformer_learning_rate, settings.betas, settings.weight_decay
    )
    sampler = Sampler(len(present), settings.qformer_batch_size, settings.seed, QFORMER_EPOCH)
    bridge.train()
    progress.start("pretraining the Q-Former", settings.qformer_steps, "steps")
    for step in range(settings.qformer_steps):
        rows = torch.from_numpy(sampler.batch(step))
        factor = rate_factor(step, settings.qformer_steps, settings.warmup_steps, "cosine")
        set_rate(optimizer, settings.qformer_learning_rate * factor)
        states = features[rows].float()
        tokens = bridge.query(states, bridge.queries.expand(len(rows), -1, -1))
        loss = F.binary_cross_entropy_with_logits(head(tokens), truth[rows])
        norm = take_step(loss, optimizer, weights, settings.clip)
        last = step + 1 == settings.qformer_steps
        log.add("qformer", step + 1, {"loss": float(loss.detach()), "norm": norm}, last)
        progress.advance()
    progress.finish()
    bridge.eval()


def _used_weights(module: EncoderPretraining) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield what the encoder losses reach: SAM's prompts of points and boxes stay as they are."""
    for name, weight in module.named_parameters():
        if "prompt_encoder" not in name and "iou_prediction_head" not in name:
            yield name, weight


def _grid(states: Tensor, grid: int) -> Tensor:
    """Return (N, width, grid, grid) of patch states (N, grid * grid, width)."""
    return states.transpose(1, 2).reshape(len(states), -1, grid, grid)
