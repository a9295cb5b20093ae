"""Muon on any device: `torch.optim.Muon` on a GPU, the same update in float32 on a CPU.

torch's optimiser iterates in bfloat16 whatever the weights are. On a CPU without bf16 instructions
a product in it takes tens of times as long as in float32, and the iteration is then most of a small
model's step. A choice by the CPU at hand would make a run that continues elsewhere another run, so
every CPU takes float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Muon

# From this ratio of the sides on, iterating on the square product is faster than on the matrix.
_WIDE = 2


def orthogonalised(
    matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float
) -> Tensor:
    """Return a matrix with about the same singular vectors, and singular values near 1.

    The quintic Newton-Schulz iteration of Muon (Jordan et al. 2024): one step maps the matrix X to
    (a + b XXᵀ + c (XXᵀ)²) X.

    Args:
        matrix: (m, n) float32.
        coefficients: a, b, c.
        steps: number of iterations.
        eps: least Frobenius norm that the matrix is divided by.

    Returns:
        (m, n) float32; singular values are in about 0.7 to 1.2 where they were not tiny.
    """
    a, b, c = coefficients
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=eps)  # the spectral norm is then at most 1
    if x.shape[1] >= _WIDE * x.shape[0]:
        x = _polynomial_of_gram(x @ x.T, a, b, c, steps) @ x
    else:
        for _ in range(steps):
            gram = x @ x.T
            x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


def _polynomial_of_gram(gram: Tensor, a: float, b: float, c: float, steps: int) -> Tensor:
    """Return the product of the polynomials that all steps multiply a matrix by from the left.

    Every factor is a polynomial of the same symmetric matrix XXᵀ, so all of them commute, and the
    long side of X takes part in two products in all instead of two a step.
    """
    product: Tensor | None = None
    for step in range(steps):
        factor = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal().add_(a)
        product = factor if product is None else factor @ product
        if step < steps - 1:
            gram = factor @ (gram @ factor)
    assert product is not None
    return product


def _size(rule: str | None, rows: int, columns: int) -> float:
    """Return the factor of an orthogonal update by the rules that `torch.optim.Muon` has."""
    if rule == "match_rms_adamw":  # the size of AdamW's (Liu et al. 2025, arXiv 2502.16982, eq. 4)
        return 0.2 * math.sqrt(max(rows, columns))
    if rule == "spectral_unclamped":
        return math.sqrt(rows / columns)
    return math.sqrt(max(1.0, rows / columns))


class DeviceMuon(Muon):
    """`torch.optim.Muon` whose iteration takes the arithmetic that its device is quick at.

    State and settings are those of torch's class, so a run can continue on another device.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every matrix that has a gradient.

        Args:
            closure: as for every optimiser of torch; computes the loss again.

        Returns:
            What the closure returns, None without one.
        """
        weights = [weight for group in self.param_groups for weight in group["params"]]
        if any(weight.device.type != "cpu" for weight in weights):
            return super().step(closure)  # type: ignore[no-untyped-call]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, group)
        return loss

    def _update(self, weight: Tensor, group: dict[str, Any]) -> None:
        gradient, state, momentum = weight.grad, self.state[weight], group["momentum"]
        assert gradient is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        average = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
        direction = gradient.lerp(average, momentum) if group["nesterov"] else average
        update = orthogonalised(
            direction.float(), group["ns_coefficients"], group["ns_steps"], group["eps"]
        )
        rate = group["lr"] * _size(group["adjust_lr_fn"], *weight.shape)
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.add_(update, alpha=-rate)
