"""At which rate a run learns."""

from __future__ import annotations

import math


def rate_factor(step: int, steps: int, warmup: int, kind: str) -> float:
    """Return the share of the peak learning rate at a step, counted from 0.

    Args:
        step: the step that is about to be taken.
        steps: length of the schedule, where the rate would be zero.
        warmup: steps of linear rise.
        kind: "linear" or "cosine" fall.
    """
    if step < warmup:
        return (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    return 1 - done if kind == "linear" else 0.5 * (1 + math.cos(math.pi * done))
