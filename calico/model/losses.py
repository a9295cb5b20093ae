"""The training objective: text cross-entropy, mask term and Dice.

CALICO (arXiv 2412.19331), eqs. 10-11: L = text + 2.0 * mask + 0.5 * Dice. The mask term is the
binary cross-entropy of the family's code, or the focal loss that the paper names.

Shapes: M masks of h x w cells of the decoder's grid, or of P points.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from calico.config.calico import LossConfig
from calico.model.original_masks import OriginalMasks, Portion
from calico.model.points import sample_points, uncertain_points

DICE_SCALE = 1000.0  # as in LISA: keeps the sums of large masks in range of half precision
DICE_EPS = 1e-6
# Pixels of masks at original size that are taken at a time: 32 MB in each float32 tensor.
PORTION_PIXELS = 1 << 23


@dataclass(frozen=True, slots=True)
class Losses:
    """Scalars of one batch; `total` is the weighted sum that is differentiated.

    `presence` is None for a model without this loss.
    """

    total: Tensor
    text: Tensor
    mask: Tensor
    dice: Tensor
    presence: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """Denominators of the losses of a batch.

    Attributes:
        tokens: answer tokens.
        images: images that have masks.
        masks: masks of all images.
        asked: samples with names that their images show or not.
    """

    tokens: int
    images: int
    masks: int
    asked: int = 0

    def __add__(self, other: Counts) -> Counts:
        """Return the counts of two batches together."""
        return Counts(
            self.tokens + other.tokens,
            self.images + other.images,
            self.masks + other.masks,
            self.asked + other.asked,
        )


def per_mask_bce(logits: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of each mask over its image.

    Args:
        logits: (M, h, w) float, or (M, P) at P points.
        targets: of that shape, float in [0, 1], covered share of each cell.
        valid: of that shape, float, 1 on the image and 0 on the padding.

    Returns:
        (M,) float.
    """
    # The decoder's grid is SAM's padded square. Averaged over all of it, the masks of an elongated
    # image would weigh less the more padding it has.
    loss = F.binary_cross_entropy_with_logits(logits, targets, weight=valid, reduction="none")
    return loss.flatten(1).sum(1) / valid.flatten(1).sum(1)


def per_mask_focal(
    logits: Tensor, targets: Tensor, valid: Tensor, gamma: float, alpha: float
) -> Tensor:
    """Return the mean focal loss of each mask over its image (arXiv 1708.02002, eq. 5).

    Args:
        logits: as `per_mask_bce`.
        targets: as `per_mask_bce`.
        valid: as `per_mask_bce`.
        gamma: exponent of the error; 0 gives the cross-entropy, weighted by alpha.
        alpha: weight of the foreground, in [0, 1]; the background has 1 - alpha.

    Returns:
        (M,) float.
    """
    loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    probability = logits.sigmoid()
    # 1 - p_t of the paper, written for targets that may be a covered share between 0 and 1.
    miss = probability * (1 - targets) + (1 - probability) * targets
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    return (weight * miss**gamma * loss * valid).flatten(1).sum(1) / valid.flatten(1).sum(1)


def per_mask_dice(logits: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
    """Return one minus the soft Dice coefficient of each mask, scaled as in LISA.

    Args:
        logits: as `per_mask_bce`.
        targets: as `per_mask_bce`.
        valid: as `per_mask_bce`.

    Returns:
        (M,) float in [0, 1].
    """
    probability = (logits.sigmoid() * valid).flatten(1)
    target = (targets * valid).flatten(1)
    overlap = 2 * (probability * target).sum(1) / DICE_SCALE
    total = (probability.sum(1) + target.sum(1)) / DICE_SCALE
    # The constant avoids 0 / 0. An empty target still costs nearly 1 unless the prediction is
    # empty too.
    return 1 - (overlap + DICE_EPS) / (total + DICE_EPS)


def mask_weights(image: Tensor, normalise: str, whole: Counts) -> Tensor:
    """Return the weight of each mask in the loss; the weights of a whole batch add up to 1.

    Args:
        image: (M,) int64, row of the image that each mask belongs to.
        normalise: "image" averages over the masks of an image, then over the images that have
            masks, as the author's fork of LISA does; "batch" averages over all masks, as LISA.
        whole: counts of the batch that these masks are a part of.

    Returns:
        (M,) float.
    """
    # Parts of a batch split between samples: all masks of an image are in one part, so the first
    # mean needs no counts of the others, and only the second divides by those of the whole batch.
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
    """Return the mask term and Dice of a batch, without their factors in the total.

    Args:
        logits: (M, h, w) float.
        targets: (M, h, w) float in [0, 1], covered share of each cell.
        extents: (M, 2) int64, rows and columns of the grid that show each mask's image.
        image: as `mask_weights`.
        config: kind, resolution and normalisation.
        whole: as `mask_weights`.

    Returns:
        Two scalars.
    """
    if config.resolution == "points":
        share = (config.points, config.oversample, config.importance)
        points = uncertain_points(logits, extents, *share)
        logits, targets = sample_points(logits, points), sample_points(targets, points)
        valid = torch.ones_like(logits)  # no point lies on the padding
    else:
        valid = _image_cells(extents, logits)
    weights = mask_weights(image, config.normalise, whole)
    term, dice = _per_mask(logits, targets, valid, config)
    return (term * weights).sum(), (dice * weights).sum()


def original_mask_losses(
    logits: Tensor, truth: OriginalMasks, image: Tensor, config: LossConfig, whole: Counts
) -> tuple[Tensor, Tensor]:
    """Return the mask term and Dice at every pixel of the images, as LISA and GLaMM take them.

    Args:
        logits: (M, g, g) float, on the decoder's grid.
        truth: M masks, M at least 1.
        image: as `mask_weights`.
        config: kind and normalisation.
        whole: as `mask_weights`.

    Returns:
        Two scalars.
    """
    # Only the decoder's small masks are kept for the backward pass, which resizes them again: at
    # original size, a batch would keep several tensors of a megabyte and more for every mask.
    found = [
        checkpoint(
            _portion_losses,
            logits[portion.masks],
            portion,
            config,
            use_reentrant=False,
            preserve_rng_state=False,
        )
        for portion in truth.portions(PORTION_PIXELS)
    ]
    weights = mask_weights(image, config.normalise, whole)
    term, dice = (torch.cat(column) for column in zip(*found, strict=True))
    return (term * weights).sum(), (dice * weights).sum()


def _portion_losses(logits: Tensor, portion: Portion, config: LossConfig) -> tuple[Tensor, Tensor]:
    """Return mask term and Dice (m,) of the masks (m, g, g) of a portion."""
    resized = portion.resized(logits)
    # The images have no padding: every pixel counts.
    return _per_mask(resized, portion.targets(), torch.ones_like(resized[:1]), config)


def _per_mask(
    logits: Tensor, targets: Tensor, valid: Tensor, config: LossConfig
) -> tuple[Tensor, Tensor]:
    """Return mask term and Dice (M,) of each mask."""
    if config.mask_kind == "focal":
        term = per_mask_focal(logits, targets, valid, config.focal_gamma, config.focal_alpha)
    else:
        term = per_mask_bce(logits, targets, valid)
    return term, per_mask_dice(logits, targets, valid)


def _image_cells(extents: Tensor, like: Tensor) -> Tensor:
    """Return (M, h, w) of the dtype of `like`, 1 on the rows and columns of `extents` (M, 2)."""
    height, width = like.shape[-2:]
    rows = torch.arange(height, device=like.device)[None, :, None] < extents[:, 0, None, None]
    columns = torch.arange(width, device=like.device)[None, None] < extents[:, 1, None, None]
    return (rows & columns).to(like.dtype)
