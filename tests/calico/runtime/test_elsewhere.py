"""The stand-in for a device takes and refuses what CUDA takes and refuses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.factories.elsewhere import HERE, THERE, Elsewhere

Case = Callable[[Tensor, Tensor, Tensor], object]

# Of g (3, 3) on the device, h (3, 3) on the CPU, and a scalar s of the CPU.
TAKEN: dict[str, Case] = {
    "a scalar in a product": lambda g, h, s: g * s,
    "a scalar in a comparison": lambda g, h, s: g > s,
    "a scalar in where": lambda g, h, s: torch.where(g > 0, g, s),
    "a scalar in place": lambda g, h, s: g.add_(s),
    "a scalar as a bound": lambda g, h, s: g.clamp(min=s),
    "filling by a scalar": lambda g, h, s: g.masked_fill(g > 0, s),
    "an index of the CPU": lambda g, h, s: g[torch.tensor([0, 2])],
    "setting to a scalar": lambda g, h, s: g.__setitem__(torch.tensor([0]), s),
    "a copy from the CPU": lambda g, h, s: g.copy_(h),
    "a copy to the CPU": lambda g, h, s: h.copy_(g),
    "moving first": lambda g, h, s: g @ h.to(THERE),
    "a number of Python": lambda g, h, s: g + 2,
}
REFUSED: dict[str, Case] = {
    "a sum": lambda g, h, s: g + h,
    "a scalar that is written": lambda g, h, s: s.add_(g.sum()),
    "two scalars": lambda g, h, s: torch.addcmul(g, s, torch.tensor(1.0)),
    "a product of matrices": lambda g, h, s: g @ h,
    "a scalar in a stack": lambda g, h, s: torch.stack([g.sum(), s]),
    "joining": lambda g, h, s: torch.cat([g, h]),
    "an index of the device": lambda g, h, s: h[torch.tensor([0], device=THERE)],
    "setting to a row of the CPU": lambda g, h, s: g.__setitem__(torch.tensor([0]), h[:1]),
    "gathering": lambda g, h, s: g.gather(0, torch.tensor([[0]])),
    "selecting": lambda g, h, s: g.index_select(0, torch.tensor([0])),
    "an embedding": lambda g, h, s: F.embedding(torch.tensor([0]), g),
    "comparing": lambda g, h, s: torch.equal(g, h),
    "many at once": lambda g, h, s: torch._foreach_mul_([g], s),
    "reading into numpy": lambda g, h, s: g.numpy(),
    "a step counter of the CPU": lambda g, h, s: torch._fused_adamw_(
        [g],
        [g.clone()],
        [g.clone()],
        [g.clone()],
        [],
        [s],
        lr=0.1,
        beta1=0.9,
        beta2=0.9,
        weight_decay=0.0,
        eps=1e-8,
        amsgrad=False,
        maximize=False,
    ),
}


def operands() -> tuple[Tensor, Tensor, Tensor]:
    return torch.ones(3, 3, device=THERE), torch.ones(3, 3), torch.tensor(2.0)


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_taken(name: str) -> None:
    with Elsewhere():
        g, h, s = operands()
        found = TAKEN[name](g, h, s)
        assert (g.device, h.device, s.device) == (THERE, HERE, HERE)
        if isinstance(found, Tensor):
            assert found.device == (HERE if found is h else THERE)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    with Elsewhere(), pytest.raises(AssertionError, match=r"two devices|into numpy"):
        REFUSED[name](*operands())


def test_gradients_lie_where_their_tensors_do() -> None:
    with Elsewhere() as elsewhere:
        there = torch.ones(2, 2, device=THERE, requires_grad=True)
        here = torch.ones(2, 2, requires_grad=True)
        (there @ here.to(THERE)).sum().backward()
        assert there.grad is not None
        assert here.grad is not None
        assert (there.grad.device, here.grad.device) == (THERE, HERE)
        assert (elsewhere.moved, sum(elsewhere.waits.values())) == (1, 0)
        assert there.sum().item() == 4
        assert elsewhere.waits["item"] == 1
