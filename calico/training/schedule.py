"""At which rate a run learns, and one step of its optimiser."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
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
    weights: Iterable[nn.Parameter],
    rate: float,
    betas: tuple[float, float],
    decay: float,
) -> AdamW:
    """Return AdamW over weights; vectors (norms, biases) are not decayed."""
    matrices: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    for weight in weights:
        (matrices if weight.ndim > 1 else vectors).append(weight)
    groups = [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
    fused = all(weight.device.type in ("cpu", "cuda") for weight in (*matrices, *vectors))
    return AdamW([g for g in groups if g["params"]], lr=rate, betas=betas, fused=fused)


def set_rate(optimizer: AdamW, rate: float) -> None:
    """Set the learning rate of all groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def take_step(
    loss: torch.Tensor, optimizer: AdamW, weights: list[nn.Parameter], clip: float
) -> float:
    """Differentiate, clip, update and clear; return the gradient's norm before clipping."""
    loss.backward()  # type: ignore[no-untyped-call]
    norm = float(nn.utils.clip_grad_norm_(weights, clip))
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm
