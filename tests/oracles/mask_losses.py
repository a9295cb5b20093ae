"""Mask losses by plain loops over cells and points."""

from __future__ import annotations

import math

from torch import Tensor

from calico.config.calico import LossConfig


def by_hand(
    pairs: list[list[tuple[float, float]]], images: list[int], config: LossConfig
) -> tuple[float, float]:
    """Return mask term and Dice from (logit, target) of every cell or point of every mask.

    Args:
        pairs: of every mask its (logit, target).
        images: of every mask its image.
        config: the kind of loss and how it is normalised.
    """
    terms, dices = [], []
    for own in pairs:
        term = overlap = total = 0.0
        for logit, target in own:
            chance = 1 / (1 + math.exp(-logit))
            entropy = -target * math.log(chance) - (1 - target) * math.log(1 - chance)
            if config.mask_kind == "focal":
                miss = chance * (1 - target) + (1 - chance) * target
                alpha = config.focal_alpha * target + (1 - config.focal_alpha) * (1 - target)
                entropy *= alpha * miss**config.focal_gamma
            term += entropy / len(own)
            overlap += 2 * chance * target
            total += chance + target
        terms.append(term)
        dices.append(1 - (overlap / 1000 + 1e-6) / (total / 1000 + 1e-6))
    weights = [1 / len(images)] * len(images)
    if config.normalise == "image":
        weights = [1 / images.count(one) / len(set(images)) for one in images]
    return tuple(  # type: ignore[return-value]
        sum(weight * value for weight, value in zip(weights, found, strict=True))
        for found in (terms, dices)
    )


def between(values: Tensor, x: float, y: float) -> float:
    """Interpolate one square mask at a point, cells having their values at their centres."""
    size = len(values)
    x, y = (min(max(place - 0.5, 0), size - 1) for place in (x, y))
    left, top = min(int(x), size - 2), min(int(y), size - 2)
    across, down = x - left, y - top
    one, two = values[top], values[top + 1]
    upper = float(one[left]) * (1 - across) + float(one[left + 1]) * across
    lower = float(two[left]) * (1 - across) + float(two[left + 1]) * across
    return upper * (1 - down) + lower * down
