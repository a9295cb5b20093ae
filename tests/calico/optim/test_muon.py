"""Muon in float32 on a CPU: the algorithm of `torch.optim.Muon`, without its bfloat16."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import Muon

from calico.optim.muon import DeviceMuon, orthogonalised

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def oracle(matrix: np.ndarray, steps: int) -> np.ndarray:
    """Apply the iteration's polynomial to the singular values, in float64."""
    a, b, c = COEFFICIENTS
    u, values, v = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    values = values / max(np.linalg.norm(values), 1e-7)
    for _ in range(steps):
        values = a * values + b * values**3 + c * values**5
    return (u * values) @ v


@pytest.mark.parametrize(
    "shape", [(48, 48), (40, 48), (96, 48), (48, 96), (32, 200), (200, 32), (1, 5)]
)
def test_it_is_the_polynomial_of_the_singular_values(shape: tuple[int, int]) -> None:
    torch.manual_seed(sum(shape))
    matrix = torch.randn(shape)
    found = orthogonalised(matrix, COEFFICIENTS, 5, 1e-7)
    assert found.dtype == torch.float32
    assert np.abs(found.numpy() - oracle(matrix.numpy(), 5)).max() < 1e-5


@given(st.integers(1, 40), st.integers(1, 90), st.integers(1, 5), st.floats(-20, 20))
@settings(max_examples=40)
def test_any_shape_and_scale(rows: int, columns: int, steps: int, power: float) -> None:
    generator = torch.Generator().manual_seed(rows * 97 + columns)
    matrix = torch.randn(rows, columns, generator=generator) * 2.0**power
    # Nearly low rank: tiny singular values are where an iteration on XXT could lose digits.
    matrix[:, columns // 2 :] *= 1e-4
    found = orthogonalised(matrix, COEFFICIENTS, steps, 1e-7).numpy()
    expected = oracle(matrix.numpy(), steps)
    if np.linalg.norm(matrix.numpy()) > 1e-6:
        assert np.abs(found - expected).max() < 2e-3


def test_nothing_comes_of_nothing() -> None:
    assert torch.equal(
        orthogonalised(torch.zeros(8, 40), COEFFICIENTS, 5, 1e-7), torch.zeros(8, 40)
    )


def trajectory(
    kind: type[Muon],
    steps: int,
    rule: str | None = "match_rms_adamw",
    shape: tuple[int, int] = (64, 160),
) -> torch.Tensor:
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(shape))
    optimizer = kind([weight], lr=0.01, weight_decay=0.1, adjust_lr_fn=rule)
    for _ in range(steps):
        weight.grad = torch.randn_like(weight)
        optimizer.step()
    return weight.detach()


def test_it_goes_where_torchs_goes_but_for_bfloat16() -> None:
    ours, theirs = trajectory(DeviceMuon, 4), trajectory(Muon, 4)
    start = trajectory(Muon, 0)
    assert (ours - theirs).norm() < 0.02 * (theirs - start).norm()


@pytest.mark.parametrize("rule", [None, "original", "match_rms_adamw"])
@pytest.mark.parametrize("shape", [(64, 160), (160, 64)])
def test_updates_have_the_size_of_torchs(rule: str | None, shape: tuple[int, int]) -> None:
    ours, theirs = (trajectory(kind, 2, rule, shape) for kind in (DeviceMuon, Muon))
    start = trajectory(Muon, 0, rule, shape)
    assert (ours - theirs).norm() < 0.02 * (theirs - start).norm()


def test_no_bfloat16_is_computed_on_a_cpu() -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    seen: set[torch.dtype] = set()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            result = func(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                seen.add(result.dtype)
            return result

    with Watch():
        trajectory(DeviceMuon, 1)
    assert torch.float32 in seen
    assert torch.bfloat16 not in seen


def test_state_moves_to_and_from_torchs_class() -> None:
    """A run that was begun with torch's class, on a GPU or by an earlier version, goes on."""
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(32, 64))
    first = Muon([weight], lr=0.01)
    weight.grad = torch.randn_like(weight)
    first.step()
    second = DeviceMuon([weight], lr=0.01)
    second.load_state_dict(first.state_dict())
    weight.grad = torch.zeros_like(weight)
    second.step()
    assert second.state[weight]["momentum_buffer"].abs().max() > 0
    first.load_state_dict(second.state_dict())
