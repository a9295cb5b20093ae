"""State of a training run beside the weights: moments of the optimisers and the random state.

A resumed run computes the same weights, bit for bit, as one that was never interrupted. Order and
augmentation of samples, learning rate and the seeds of dropout are functions of seed and step, so
they need not be saved. `position` records where they are. A resumed run compares it with its own
and refuses to go on elsewhere.

Tensors are saved in `training.safetensors`, plain values in `checkpoint.json`; nothing is pickled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from calico.config.calico import CalicoConfig
from calico.dataset.sampler import Sampler
from calico.optim.optimizer import Updater
from calico.optim.schedule import rate_factor
from calico.runtime.distributed import like, whole
from mixedparts.errors import InputError


def position(config: CalicoConfig, sampler: Sampler, step: int) -> dict[str, Any]:
    """Return the position of sampler and schedule after a number of steps.

    Args:
        config: of the run.
        sampler: of the run.
        step: number of finished steps.

    Returns:
        JSON values for `checkpoint.json`.
    """
    chosen = config.training
    epoch, place = divmod(step, sampler.steps_per_epoch)
    factor = rate_factor(step, chosen.steps, chosen.warmup_steps, chosen.schedule)
    return {
        "sampler": {"seed": chosen.seed, "epoch": epoch, "batch": place},
        "schedule": {"step": step, "learning_rate": chosen.learning_rate * factor},
    }


_RANDOM = "random_state"


def optimizer_tensors(updater: Updater, weights: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Return the optimisers' tensors, named `weight/moment`, and torch's random state.

    Every process calls it: with FSDP a tensor is gathered from all of them.
    """
    tensors = {_RANDOM: torch.get_rng_state()}
    for name, weight in weights.items():
        for moment, value in updater.state(weight).items():
            tensors[f"{name}/{moment}"] = whole(value)
    return tensors


def restore_optimizer(
    updater: Updater, weights: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]
) -> None:
    """Put the tensors of `optimizer_tensors` back.

    Args:
        updater: of the resumed run, before its first step.
        weights: that it updates, by name.
        tensors: as `optimizer_tensors` returned them.

    Raises:
        InputError: the random state or a moment of a weight that was updated is missing.
    """
    for name, weight in weights.items():
        moments = updater.moments(weight)
        saved = {moment: tensors.get(f"{name}/{moment}") for moment in moments}
        # Cloned: the optimiser changes its moments in place, and these tensors are the caller's.
        restored = {
            moment: like(value.clone(), weight)
            for moment, value in saved.items()
            if value is not None
        }
        if len(restored) not in (0, len(moments)):
            lacking = ", ".join(moment for moment in moments if moment not in restored)
            raise InputError(f"the saved training state of {name} lacks {lacking}")
        # A weight that no loss reaches is never updated and has no moments.
        if restored:
            updater.restore(weight, restored)
    if _RANDOM not in tensors:
        raise InputError("the saved training state lacks the random state")
    torch.set_rng_state(tensors[_RANDOM])
