"""The training objective: text cross-entropy, mask term and Dice (eqs. 10-11)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from calico.config.calico import LossConfig
from calico.model.points import draw_points, sample_points

DICE_SCALE = 1000.0  # as in LISA: keeps the sums of large masks in range of half precision
DICE_EPS = 1e-6


@dataclass(frozen=True, slots=True)
class Losses:
    """Scalars of one batch; `total` is the weighted sum that is differentiated."""

    total: Tensor
    text: Tensor
    mask: Tensor
    dice: Tensor


@dataclass(frozen=True, slots=True)
class Counts:
    """What the losses of a batch are means over.

    Attributes:
        tokens: of answers.
        images: that have masks.
        masks: of all images.
    """

    tokens: int
    images: int
    masks: int

    def __add__(self, other: Counts) -> Counts:
        """Return the counts of two batches together."""
        return Counts(
            self.tokens + other.tokens, self.images + other.images, self.masks + other.masks
        )


def per_mask_bce(logits: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of each mask over its picture.

    Args:
        logits: (M, h, w) float, or (M, P) at P points.
        targets: of that shape, float in [0, 1], covered share of each cell.
        valid: of that shape, float, 1 on the picture and 0 on the padding.
    """
    loss = F.binary_cross_entropy_with_logits(logits, targets, weight=valid, reduction="none")
    return loss.flatten(1).sum(1) / valid.flatten(1).sum(1)


def per_mask_focal(
    logits: Tensor, targets: Tensor, valid: Tensor, gamma: float, alpha: float
) -> Tensor:
    """Return the mean focal loss of each mask over its picture; arguments as `per_mask_bce`."""
    loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    chance = logits.sigmoid()
    miss = chance * (1 - targets) + (1 - chance) * targets
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    return (weight * miss**gamma * loss * valid).flatten(1).sum(1) / valid.flatten(1).sum(1)


def per_mask_dice(logits: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
    """Return one minus the soft Dice coefficient of each mask; arguments as `per_mask_bce`."""
    chance = (logits.sigmoid() * valid).flatten(1)
    target = (targets * valid).flatten(1)
    overlap = 2 * (chance * target).sum(1) / DICE_SCALE
    total = (chance.sum(1) + target.sum(1)) / DICE_SCALE
    return 1 - (overlap + DICE_EPS) / (total + DICE_EPS)


def mask_weights(image: Tensor, normalise: str, whole: Counts) -> Tensor:
    """Return what each mask counts; the weights of a whole batch add up to 1.

    Args:
        image: (M,) int64, row of the image that each mask belongs to.
        normalise: "image" averages over the masks of an image, then over the images that have
            masks; "batch" averages over all masks.
        whole: of the batch that these masks are a part of.
    """
    if normalise == "batch":
        return torch.full(image.shape, 1 / max(1, whole.masks), device=image.device)
    _, inverse, counts = torch.unique(image, return_inverse=True, return_counts=True)
    weights: Tensor = 1 / (counts[inverse] * max(1, whole.images))
    return weights


def mask_losses(
    logits: Tensor,
    targets: Tensor,
    extents: Tensor,
    image: Tensor,
    config: LossConfig,
    whole: Counts,
) -> tuple[Tensor, Tensor]:
    """Return the mask term and Dice of a batch, unweighted.

    Args:
        logits, targets: as `per_mask_bce`.
        extents: (M, 2) int64, rows and columns of the grid that show each mask's picture.
        image, whole: as `mask_weights`.
        config: kind, resolution and normalisation.
    """
    if config.resolution == "points":
        share = (config.points, config.oversample, config.importance)
        points = draw_points(logits, extents, *share)
        logits, targets = sample_points(logits, points), sample_points(targets, points)
        valid = torch.ones_like(logits)
    else:
        valid = _picture(extents, logits)
    weights = mask_weights(image, config.normalise, whole)
    if config.mask_kind == "focal":
        term = per_mask_focal(logits, targets, valid, config.focal_gamma, config.focal_alpha)
    else:
        term = per_mask_bce(logits, targets, valid)
    return (term * weights).sum(), (per_mask_dice(logits, targets, valid) * weights).sum()


def _picture(extents: Tensor, like: Tensor) -> Tensor:
    """Return (M, h, w) of the dtype of `like`, 1 on the rows and columns of `extents` (M, 2)."""
    height, width = like.shape[-2:]
    rows = torch.arange(height, device=like.device)[None, :, None] < extents[:, 0, None, None]
    columns = torch.arange(width, device=like.device)[None, None] < extents[:, 1, None, None]
    return (rows & columns).to(like.dtype)
