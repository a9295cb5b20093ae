"""At which rate a run learns, and one step of its optimiser."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from torch import nn
from torch.optim import AdamW


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


def build_optimizer(
    weights: Mapping[str, nn.Parameter],
    rate: float,
    betas: tuple[float, float],
    decay: float,
    factors: Mapping[str, float] = MappingProxyType({}),
) -> AdamW:
    """Return AdamW over named weights; vectors (norms, biases) are not decayed.

    Args:
        weights: by name.
        rate: the peak learning rate.
        betas, decay: of AdamW.
        factors: of the rate, by the first word of the names.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, weight in weights.items():
        factor = factors.get(name.split(".", 1)[0], 1.0)
        groups.setdefault((factor, weight.ndim > 1), []).append(weight)
    chosen = [
        {"params": group, "weight_decay": decay if decayed else 0.0, "factor": factor}
        for (factor, decayed), group in sorted(groups.items(), key=lambda item: item[0])
    ]
    fused = all(weight.device.type in ("cpu", "cuda") for weight in weights.values())
    optimizer = AdamW(chosen, lr=rate, betas=betas, fused=fused)
    set_rate(optimizer, rate)
    return optimizer


def set_rate(optimizer: AdamW, rate: float) -> None:
    """Set the learning rate; each group has it times its factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


def take_step(optimizer: AdamW, weights: list[nn.Parameter], clip: float) -> float:
    """Clip the gradients, update and clear; return the gradient's norm before clipping."""
    norm = nn.utils.clip_grad_norm_(weights, clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(norm)
