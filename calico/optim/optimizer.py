"""What updates the weights: AdamW, or Muon for matrices and AdamW for everything else.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) makes the momentum of a matrix
orthogonal, so that an update moves all its directions alike; `torch.optim.Muon` computes it.
Updates are scaled to the size of AdamW's (Liu et al. 2025, arXiv 2502.16982), so one learning
rate serves both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon

from calico.runtime.distributed import send_from

_NARROW = 32  # a matrix with a shorter side is nearly a vector; also the factors of LoRA
_MOMENTS = {AdamW: ("exp_avg", "exp_avg_sq", "step"), Muon: ("momentum_buffer",)}


class OptimizerSettings(Protocol):
    """What both `TrainingConfig` and `PretrainingConfig` say about updates."""

    @property
    def betas(self) -> tuple[float, float]: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def optimizer(self) -> str: ...
    @property
    def muon_factor(self) -> float: ...


class DistributedMuon:
    """Muon, its matrices dealt out to the processes: each updates its own and sends them.

    All processes hold the same weights and gradients, so what comes out is what one would compute.

    Args:
        matrices: by the factor of their learning rate.
        decay: of the weights.
        share: rank of this process and number of those that take part in every step.
    """

    def __init__(
        self,
        matrices: Mapping[float, Sequence[nn.Parameter]],
        decay: float,
        share: tuple[int, int],
    ) -> None:
        self.rank, self.count = share
        every = [weight for group in matrices.values() for weight in group]
        largest = sorted(every, key=lambda weight: -weight.numel())
        self.owner = {weight: place % self.count for place, weight in enumerate(largest)}
        groups = [
            {"params": [one for one in group if self.owner[one] == self.rank], "factor": factor}
            for factor, group in sorted(matrices.items())
        ]
        self.mine = Muon(groups, weight_decay=decay, adjust_lr_fn="match_rms_adamw")

    def step(self) -> None:
        """Update all matrices; every process calls it."""
        self.mine.step()  # type: ignore[no-untyped-call]
        if self.count > 1:
            for rank in range(self.count):
                send_from(rank, [one for one, owner in self.owner.items() if owner == rank])

    def state(self, weight: nn.Parameter) -> dict[str, Tensor]:
        """Return what is remembered about a matrix; every process calls it."""
        found: dict[str, Tensor] = self.mine.state.get(weight, {})
        if self.count == 1:
            return found
        known = torch.tensor([float(bool(found))], device=weight.device)
        send_from(self.owner[weight], [known])
        if not known:
            return {}
        (moment,) = _MOMENTS[Muon]
        value = found.get(moment, torch.zeros_like(weight))
        send_from(self.owner[weight], [value])
        return {moment: value}

    def restore(self, weight: nn.Parameter, state: dict[str, Tensor]) -> None:
        """Put back what `state` returned, if this process updates the matrix."""
        if self.owner[weight] == self.rank:
            self.mine.state[weight] = state


class Updater:
    """AdamW and Muon as one optimiser; no weight belongs to both.

    Args:
        adamw: None where Muon has all weights.
        muon: None where AdamW has.
    """

    def __init__(self, adamw: AdamW | None, muon: DistributedMuon | None) -> None:
        self.adamw = adamw
        self.muon = muon
        groups = adamw.param_groups if adamw is not None else []
        self.weights: list[nn.Parameter] = [one for group in groups for one in group["params"]]
        self.weights += muon.owner if muon is not None else []

    @property
    def groups(self) -> list[dict[str, Any]]:
        """Weights that this process updates alike."""
        ours = self.adamw.param_groups if self.adamw is not None else []
        return [*ours, *(self.muon.mine.param_groups if self.muon is not None else [])]

    def set_rate(self, rate: float) -> None:
        """Set the learning rate; each group has it times its factor."""
        for group in self.groups:
            group["lr"] = rate * group["factor"]

    def step(self, clip: float) -> float:
        """Clip the gradients, update and clear; return the gradient's norm before clipping."""
        norm = nn.utils.clip_grad_norm_(self.weights, clip)
        for member in (self.adamw, self.muon):
            if member is not None:
                member.step()
        for weight in self.weights:
            weight.grad = None
        return float(norm)

    def moments(self, weight: nn.Parameter) -> tuple[str, ...]:
        """Return the names of what is remembered about a weight once it was updated."""
        return _MOMENTS[AdamW if self._muon_of(weight) is None else Muon]

    def state(self, weight: nn.Parameter) -> dict[str, Tensor]:
        """Return what is remembered about a weight, by moment; empty before its first update.

        Every process calls it, for the same weights in the same order.
        """
        if (muon := self._muon_of(weight)) is not None:
            return muon.state(weight)
        assert self.adamw is not None
        found: dict[str, Tensor] = self.adamw.state.get(weight, {})
        return found

    def restore(self, weight: nn.Parameter, state: dict[str, Tensor]) -> None:
        """Put back what `state` returned."""
        if (muon := self._muon_of(weight)) is not None:
            muon.restore(weight, state)
        elif self.adamw is not None:
            self.adamw.state[weight] = state

    def _muon_of(self, weight: nn.Parameter) -> DistributedMuon | None:
        return self.muon if self.muon is not None and weight in self.muon.owner else None


def hidden_matrices(*networks: nn.Module) -> list[nn.Parameter]:
    """Return what Muon is made for: trained weights of linear layers inside networks.

    Embeddings and the layer that words come out of are none of them: leave them out.
    """
    layers = [m for one in networks for m in one.modules() if isinstance(m, nn.Linear)]
    weights = [m.weight for m in layers if isinstance(m.weight, nn.Parameter)]
    wide = [one for one in weights if one.requires_grad and min(one.shape) >= _NARROW]
    return list(dict.fromkeys(wide))  # layers may share a weight


def moment_count(
    weights: Iterable[Tensor], settings: OptimizerSettings, matrices: Iterable[Tensor]
) -> int:
    """Return how many numbers are remembered: two a weight by AdamW, one by Muon."""
    once = sum(one.numel() for one in matrices) if settings.optimizer == "muon" else 0
    return 2 * sum(weight.numel() for weight in weights) - once


def build_updater(
    weights: Mapping[str, nn.Parameter],
    rate: float,
    settings: OptimizerSettings,
    matrices: Iterable[nn.Parameter] = (),
    factors: Mapping[str, float] = MappingProxyType({}),
    share: tuple[int, int] = (0, 1),
) -> Updater:
    """Return what updates named weights; vectors (norms, biases) are not decayed.

    Args:
        weights: by name.
        rate: the peak learning rate.
        settings: which optimiser, and how.
        matrices: those of `weights` that Muon may update, if it is asked for.
        factors: of the rate, by the first word of the names.
        share: rank of this process and number of those that update the same weights.
    """
    chosen = set(matrices) if settings.optimizer == "muon" else set()
    plain: dict[tuple[float, bool], list[nn.Parameter]] = {}
    dealt: dict[float, list[nn.Parameter]] = {}
    for name, weight in weights.items():
        factor = factors.get(name.split(".", 1)[0], 1.0)
        if weight in chosen:
            dealt.setdefault(factor * settings.muon_factor, []).append(weight)
        else:
            plain.setdefault((factor, weight.ndim > 1), []).append(weight)
    decay = settings.weight_decay
    groups = [
        {"params": group, "weight_decay": decay if decayed else 0.0, "factor": factor}
        for (factor, decayed), group in sorted(plain.items(), key=lambda item: item[0])
    ]
    fused = all(weight.device.type in ("cpu", "cuda") for weight in weights.values())
    updater = Updater(
        AdamW(groups, lr=rate, betas=settings.betas, fused=fused) if groups else None,
        DistributedMuon(dealt, decay, share) if dealt else None,
    )
    updater.set_rate(rate)
    return updater
