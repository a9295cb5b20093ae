"""The learning-rate schedule."""

from __future__ import annotations

import math


def rate_factor(step: int, steps: int, warmup: int, kind: str) -> float:
    """Return the learning rate of a step as a share of the peak rate.

    Args:
        step: the step that comes next, counted from 0.
        steps: length of the schedule; the rate would be zero at this step.
        warmup: number of steps in which the rate rises linearly.
        kind: "linear" or "cosine", the form of the fall after the warm-up.

    Returns:
        A share in [0, 1].
    """
    # A function of the step alone, so a resumed run needs no state of a scheduler. The first step
    # has a rate above zero: at zero it would only fill the optimiser's moments.
    if step < warmup:
        return (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    return 1 - done if kind == "linear" else 0.5 * (1 + math.cos(math.pi * done))
