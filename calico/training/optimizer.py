"""What updates the weights: AdamW, or Muon for matrices and AdamW for everything else.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) makes the momentum of a matrix
orthogonal, so that an update moves all its directions alike; `torch.optim.Muon` computes it.
Updates are scaled to the size of AdamW's (Liu et al. 2025, arXiv 2502.16982), so one learning
rate serves both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer

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


class Updater:
    """The optimisers of one run, as one.

    Args:
        members: at least one; no weight belongs to two.
    """

    def __init__(self, *members: Optimizer) -> None:
        self.members = members
        self._owner = {
            weight: member
            for member in members
            for group in member.param_groups
            for weight in group["params"]
        }

    @property
    def groups(self) -> list[dict[str, Any]]:
        """Weights that are updated alike."""
        return [group for member in self.members for group in member.param_groups]

    def set_rate(self, rate: float) -> None:
        """Set the learning rate; each group has it times its factor."""
        for group in self.groups:
            group["lr"] = rate * group["factor"]

    def step(self, clip: float) -> float:
        """Clip the gradients, update and clear; return the gradient's norm before clipping."""
        norm = nn.utils.clip_grad_norm_(list(self._owner), clip)
        for member in self.members:
            member.step()
            member.zero_grad(set_to_none=True)
        return float(norm)

    def moments(self, weight: nn.Parameter) -> tuple[str, ...]:
        """Return the names of what is remembered about a weight once it was updated."""
        return _MOMENTS[type(self._owner[weight])]

    def state(self, weight: nn.Parameter) -> dict[str, Tensor]:
        """Return what is remembered about a weight, by moment; empty before its first update."""
        found: dict[str, Tensor] = self._owner[weight].state.get(weight, {})
        return found

    def restore(self, weight: nn.Parameter, state: dict[str, Tensor]) -> None:
        """Put back what `state` returned."""
        self._owner[weight].state[weight] = state


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
) -> Updater:
    """Return what updates named weights; vectors (norms, biases) are not decayed.

    Args:
        weights: by name.
        rate: the peak learning rate.
        settings: which optimiser, and how.
        matrices: those of `weights` that Muon may update, if it is asked for.
        factors: of the rate, by the first word of the names.
    """
    chosen = set(matrices) if settings.optimizer == "muon" else set()
    ours: dict[tuple[float, bool], list[nn.Parameter]] = {}
    theirs: dict[float, list[nn.Parameter]] = {}
    for name, weight in weights.items():
        factor = factors.get(name.split(".", 1)[0], 1.0)
        if weight in chosen:
            theirs.setdefault(factor * settings.muon_factor, []).append(weight)
        else:
            ours.setdefault((factor, weight.ndim > 1), []).append(weight)
    members: list[Optimizer] = []
    if ours:
        groups = [
            {
                "params": group,
                "weight_decay": settings.weight_decay if decayed else 0.0,
                "factor": factor,
            }
            for (factor, decayed), group in sorted(ours.items(), key=lambda item: item[0])
        ]
        fused = all(weight.device.type in ("cpu", "cuda") for weight in weights.values())
        members.append(AdamW(groups, lr=rate, betas=settings.betas, fused=fused))
    if theirs:
        groups = [{"params": group, "factor": factor} for factor, group in sorted(theirs.items())]
        decay = settings.weight_decay
        members.append(Muon(groups, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"))
    updater = Updater(*members)
    updater.set_rate(rate)
    return updater
