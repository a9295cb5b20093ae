"""Optimisers: AdamW, or Muon for matrices and AdamW for everything else.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) makes the momentum of a matrix
orthogonal, so that an update changes all its directions by the same amount (`calico.optim.muon`).
Updates are scaled to the size of AdamW's (Liu et al. 2025, arXiv 2502.16982), so both use one
learning rate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer

from calico.optim.muon import DeviceMuon
from calico.runtime.distributed import send_from
from calico.runtime.sharding import whole

# A matrix with a shorter side than this is nearly a vector: orthogonal momentum has no advantage
# there. The factors of LoRA (rank 8) are such matrices.
_NARROW = 32
# Names of the tensors that torch's optimisers keep for a weight; checkpoints use the same names.
_MOMENTS = {AdamW: ("exp_avg", "exp_avg_sq", "step"), Muon: ("momentum_buffer",)}


class OptimizerSettings(Protocol):
    """The settings of optimisers that `TrainingConfig` and `PretrainingConfig` have in common."""

    @property
    def betas(self) -> tuple[float, float]:
        """AdamW's decay rates of the first and second moment."""
        ...

    @property
    def weight_decay(self) -> float:
        """Decay of matrices, relative to the learning rate; vectors have none."""
        ...

    @property
    def optimizer(self) -> str:
        """Name of the optimiser: "adamw" or "muon"."""
        ...

    @property
    def muon_factor(self) -> float:
        """Factor of the learning rate for the matrices that Muon updates."""
        ...


class DistributedMuon:
    """Muon with its matrices dealt to the processes: each updates its own and sends them.

    All processes have the same weights and the same averaged gradients, so the result is the one
    that a single process would compute, whichever process updates a matrix.

    Args:
        matrices: factor of the learning rate -> the matrices with this factor.
        decay: of the weights.
        share: rank of this process and number of processes, all of which call every step.
    """

    def __init__(
        self,
        matrices: Mapping[float, Sequence[nn.Parameter]],
        decay: float,
        share: tuple[int, int],
    ) -> None:
        self.rank, self.count = share
        # The iterations that make a matrix orthogonal cost more than the rest of an update, so they
        # are divided. Sorted by size and dealt in turn, every process gets about the same work, and
        # all processes compute the same deal without a message.
        all_matrices = [weight for group in matrices.values() for weight in group]
        largest = sorted(all_matrices, key=lambda weight: -weight.numel())
        self.owner = {weight: number % self.count for number, weight in enumerate(largest)}
        groups = [
            {"params": [one for one in group if self.owner[one] == self.rank], "factor": factor}
            for factor, group in sorted(matrices.items())
        ]
        self.own = DeviceMuon(groups, weight_decay=decay, adjust_lr_fn="match_rms_adamw")

    def step(self) -> None:
        """Update all matrices; every process calls it."""
        self.own.step()
        # One message from each owner: all of its matrices travel in one vector.
        if self.count > 1:
            for rank in range(self.count):
                send_from(rank, [one for one, owner in self.owner.items() if owner == rank])

    def state(self, weight: nn.Parameter) -> dict[str, Tensor]:
        """Return the moments of a matrix by name; every process calls it."""
        moments: dict[str, Tensor] = self.own.state.get(weight, {})
        if self.count == 1:
            return moments
        # Only the owner has the momentum, or knows that there is none yet. It sends this first, as
        # a tensor, because a broadcast needs a receiver that knows the shape.
        updated = torch.tensor([float(bool(moments))], device=weight.device)
        send_from(self.owner[weight], [updated])
        if not updated:
            return {}
        (moment,) = _MOMENTS[Muon]
        value = moments.get(moment, torch.zeros_like(weight))
        send_from(self.owner[weight], [value])
        return {moment: value}

    def restore(self, states: Mapping[nn.Parameter, dict[str, Tensor]]) -> None:
        """Restore the moments that `state` returned, of the matrices that this process updates."""
        # A run may go on with another number of processes: the deal is then another one, and
        # the process that now owns the matrix takes its moments.
        _load(self.own, {one: own for one, own in states.items() if self.owner[one] == self.rank})


class Updater:
    """AdamW and Muon as one optimiser; no weight belongs to both.

    Args:
        adamw: None if Muon updates all weights.
        muon: None if AdamW updates all weights.
    """

    def __init__(self, adamw: AdamW | None, muon: DistributedMuon | None) -> None:
        self.adamw = adamw
        self.muon = muon
        groups = adamw.param_groups if adamw is not None else []
        self.weights: list[nn.Parameter] = [one for group in groups for one in group["params"]]
        self.weights += muon.owner if muon is not None else []

    @property
    def groups(self) -> list[dict[str, Any]]:
        """The parameter groups that this process updates."""
        adamw_groups = self.adamw.param_groups if self.adamw is not None else []
        return [*adamw_groups, *(self.muon.own.param_groups if self.muon is not None else [])]

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of every group to `rate` times the group's factor."""
        for group in self.groups:
            group["lr"] = rate * group["factor"]

    def step(self, clip: float) -> float:
        """Clip the gradients, update and clear; return the gradient's norm before clipping."""
        # The norm is that of all weights, those of the matrices that other processes update
        # included: every process must clip by the same factor.
        # With FSDP each process has the norm of its shards, which `whole` joins.
        norm = whole(nn.utils.clip_grad_norm_(self.weights, clip))
        for member in (self.adamw, self.muon):
            if member is not None:
                member.step()
        # None, not zero: a weight that no loss of the next step reaches is then left as it is,
        # where a zero gradient would still decay it.
        for weight in self.weights:
            weight.grad = None
        return float(norm)

    def moments(self, weight: nn.Parameter) -> tuple[str, ...]:
        """Return the names of a weight's moments, which it has once it was updated."""
        return _MOMENTS[AdamW if self._muon_of(weight) is None else Muon]

    def state(self, weight: nn.Parameter) -> dict[str, Tensor]:
        """Return the moments of a weight by name; empty before its first update.

        Every process calls it, for the same weights in the same order.
        """
        if (muon := self._muon_of(weight)) is not None:
            return muon.state(weight)
        assert self.adamw is not None
        moments: dict[str, Tensor] = self.adamw.state.get(weight, {})
        return moments

    def restore(self, states: Mapping[nn.Parameter, dict[str, Tensor]]) -> None:
        """Restore the moments of all weights that `state` returned some for."""
        muon = {one: own for one, own in states.items() if self._muon_of(one) is not None}
        if self.muon is not None:
            self.muon.restore(muon)
        if self.adamw is not None:
            _load(self.adamw, {one: own for one, own in states.items() if one not in muon})

    def _muon_of(self, weight: nn.Parameter) -> DistributedMuon | None:
        return self.muon if self.muon is not None and weight in self.muon.owner else None


def _load(optimizer: Optimizer, states: Mapping[nn.Parameter, dict[str, Tensor]]) -> None:
    """Give an optimiser the moments of its weights, by torch's own rules for their devices."""
    # A step counter is on the device where the update is fused, and on the CPU elsewhere.
    empty = optimizer.state_dict()
    numbers = {
        weight: number
        for group, named in zip(optimizer.param_groups, empty["param_groups"], strict=True)
        for weight, number in zip(group["params"], named["params"], strict=True)
    }
    given = {numbers[weight]: state for weight, state in states.items()}
    optimizer.load_state_dict({"state": given, "param_groups": empty["param_groups"]})


def hidden_matrices(*networks: nn.Module) -> list[nn.Parameter]:
    """Return the weights that Muon is made for: trained ones of linear layers inside networks.

    Embeddings and the output layer of a language model are not such weights: do not pass them.
    """
    layers = [m for net in networks for m in net.modules() if isinstance(m, nn.Linear)]
    weights = [m.weight for m in layers if isinstance(m.weight, nn.Parameter)]
    wide = [one for one in weights if one.requires_grad and min(one.shape) >= _NARROW]
    return list(dict.fromkeys(wide))  # layers may share a weight


def moment_count(
    weights: Iterable[Tensor], settings: OptimizerSettings, matrices: Iterable[Tensor]
) -> int:
    """Return how many numbers the optimisers store, for estimates of memory.

    Args:
        weights: all that are trained.
        settings: which optimiser.
        matrices: those of `weights` that Muon may update.

    Returns:
        Two numbers for each weight of AdamW, one for each weight of Muon.
    """
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
    """Return the optimiser of named weights.

    Args:
        weights: by name.
        rate: the peak learning rate.
        settings: which optimiser, and its settings.
        matrices: those of `weights` that Muon may update, if it is chosen.
        factors: of the rate, by the first component of the names ("language", "bridge" …).
        share: rank of this process and number of processes that update the same weights.

    Returns:
        The optimiser, set to the peak rate. Vectors (norms, biases) are not decayed.
    """
    # Parameters compare by identity in a set, which is what is meant here.
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
    # The fused kernel updates all weights of a group at once. On other devices torch chooses.
    fused = all(weight.device.type in ("cpu", "cuda") for weight in weights.values()) or None
    updater = Updater(
        AdamW(groups, lr=rate, betas=settings.betas, fused=fused) if groups else None,
        DistributedMuon(dealt, decay, share) if dealt else None,
    )
    updater.set_rate(rate)
    return updater
