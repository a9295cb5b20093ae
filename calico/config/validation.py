"""Faults of configuration values: each check yields one sentence for every value that fails."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any


def positive(value: Any, *names: str) -> Iterator[str]:
    for name in names:
        if getattr(value, name) < 1:
            yield f"{name}: {getattr(value, name)} is not positive"


def above_zero(value: Any, name: str) -> Iterator[str]:
    if not 0 < getattr(value, name) < math.inf:
        yield f"{name}: {getattr(value, name)} is not above 0"


def fraction(value: Any, name: str) -> Iterator[str]:
    if not 0 <= getattr(value, name) <= 1:
        yield f"{name}: {getattr(value, name)} is not in 0..1"


def weights(value: Any, name: str) -> Iterator[str]:
    """Check a mapping of names to weights; an empty one is no fault."""
    chosen: Mapping[str, float] = getattr(value, name)
    for key, weight in chosen.items():
        if not 0 <= weight < math.inf:
            yield f"{name}.{key}: {weight} is not a weight of 0 or more"
    if chosen and not any(chosen.values()):
        yield f"{name}: all weights are 0, nothing would be drawn"


def multiple(name: str, value: int, of: str, step: int) -> Iterator[str]:
    if step < 1 or value < 1 or value % step:
        yield f"{name}: {value} is not a positive multiple of {of} ({step})"


def encoder_faults(image_size: int, patch_size: int, hidden_size: int, heads: int) -> Iterator[str]:
    yield from multiple("image_size", image_size, "patch_size", patch_size)
    yield from multiple("hidden_size", hidden_size, "heads", heads)


def stem_faults(stem: str, patch_size: int) -> Iterator[str]:
    if stem == "conv" and patch_size not in (4, 8, 16):
        yield f"stem: a convolutional stem needs patch_size 4, 8 or 16, not {patch_size}"


def schedule_faults(
    rate: float, warmup: int, clip: float, betas: tuple[float, float]
) -> Iterator[str]:
    if rate <= 0:
        yield f"learning_rate: {rate} is not positive"
    if warmup < 0:
        yield f"warmup_steps: {warmup} is negative"
    if clip <= 0:
        yield f"clip: {clip} is not positive"
    if not all(0 <= beta < 1 for beta in betas):
        yield f"betas: {betas} are not in [0, 1)"
