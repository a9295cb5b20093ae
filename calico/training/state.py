"""What a resumed run needs beside the weights: the optimiser's moments and the random state.

Tensors go to `training.safetensors`, plain values to `checkpoint.json`; nothing is pickled. Order
and variations of samples, learning rate and the seeds of dropout are functions of seed and step:
`position` writes down where they stand, so that a resumed run can prove that it stands there too.
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
    """Return where sampler and schedule stand after `step` steps, in JSON values."""
    chosen = config.training
    epoch, place = divmod(step, sampler.steps_per_epoch)
    factor = rate_factor(step, chosen.steps, chosen.warmup_steps, chosen.schedule)
    return {
        "sampler": {"seed": chosen.seed, "epoch": epoch, "batch": place},
        "schedule": {"step": step, "learning_rate": chosen.learning_rate * factor},
    }


_RANDOM = "random_state"


def optimizer_tensors(updater: Updater, weights: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Return the optimisers' tensors under `weight name/moment`, and torch's random state."""
    tensors = {_RANDOM: torch.get_rng_state()}
    for name, weight in weights.items():
        for moment, value in updater.state(weight).items():
            tensors[f"{name}/{moment}"] = whole(value)
    return tensors


def restore_optimizer(
    updater: Updater, weights: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]
) -> None:
    """Put the tensors of `optimizer_tensors` back.

    Raises:
        InputError: the random state or a moment of a weight that was updated is missing.
    """
    for name, weight in weights.items():
        moments = updater.moments(weight)
        saved = {moment: tensors.get(f"{name}/{moment}") for moment in moments}
        found = {
            moment: like(value.clone(), weight)
            for moment, value in saved.items()
            if value is not None
        }
        if len(found) not in (0, len(moments)):
            lacking = ", ".join(moment for moment in moments if moment not in found)
            raise InputError(f"the saved training state of {name} lacks {lacking}")
        if found:  # a weight that no loss reaches has none
            updater.restore(weight, found)
    if _RANDOM not in tensors:
        raise InputError("the saved training state lacks the random state")
    torch.set_rng_state(tensors[_RANDOM])
