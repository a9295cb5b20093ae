"""State of a training run beside the weights: moments of the optimisers and the random state.

A resumed run computes the same weights, bit for bit, as one that was never interrupted. Order and
augmentation of samples, learning rate and the seeds of dropout are functions of seed and step, so
they need not be saved. `position` records where they are. A resumed run compares it with its own
and refuses to continue elsewhere.

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
from calico.runtime.sharding import gathered, like
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


@torch.no_grad()
def optimizer_tensors(
    updater: Updater, weights: Mapping[str, nn.Parameter], keep: bool = True
) -> dict[str, Tensor]:
    """Return the optimisers' tensors, named `weight/moment`; every process calls it.

    Args:
        updater: of the run.
        weights: that it updates, by name.
        keep: whether this process gets the tensors; with FSDP each is gathered from all of them.

    Returns:
        The tensors in full, empty where they are not kept.
    """
    tensors: dict[str, Tensor] = {}
    for name, weight in weights.items():
        moments = updater.state(weight).items()
        tensors |= gathered({f"{name}/{moment}": value for moment, value in moments}, keep)
    return tensors


def restore_optimizer(
    updater: Updater, weights: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]
) -> None:
    """Put the tensors of `optimizer_tensors` back.

    Args:
        updater: of the resumed run, before its first step.
        weights: that it updates, by name.
        tensors: as `optimizer_tensors` returned them, on the CPU.

    Raises:
        InputError: a moment of a weight that was updated is missing or has another shape.
    """
    states: dict[nn.Parameter, dict[str, Tensor]] = {}
    for name, weight in weights.items():
        moments = updater.moments(weight)
        saved = {one: tensors[f"{name}/{one}"] for one in moments if f"{name}/{one}" in tensors}
        # A weight that no loss reaches is never updated and has no moments.
        if not saved:
            continue
        lacking = [moment for moment in moments if moment not in saved]
        if lacking:
            raise InputError(f"the saved training state of {name} lacks {', '.join(lacking)}")
        for moment, value in saved.items():
            if value.ndim and value.shape != weight.shape:
                raise InputError(
                    f"the saved training state has {moment} of {tuple(value.shape)} for {name},"
                    f" which is {tuple(weight.shape)}"
                )
        # Copies: the optimiser changes its moments in place, and these tensors are the caller's. A
        # step counter is a scalar; the optimiser knows where it has to be.
        states[weight] = {
            moment: like(value, weight) if value.ndim else value.clone()
            for moment, value in saved.items()
        }
    updater.restore(states)


def random_tensors(device: torch.device) -> dict[str, Tensor]:
    """Return the states of torch's generators, of the CPU and of a device."""
    tensors = {_RANDOM: torch.get_rng_state()}
    if device.type != "cpu":
        state: Tensor = torch.get_device_module(device.type).get_rng_state()
        tensors[f"{_RANDOM}/{device.type}"] = state
    return tensors


def restore_random(tensors: Mapping[str, Tensor], device: torch.device) -> None:
    """Put the tensors of `random_tensors` back.

    Args:
        tensors: as `random_tensors` returned them, perhaps among others.
        device: of this run; the state of another kind of device is left aside.

    Raises:
        InputError: the random state is missing.
    """
    if _RANDOM not in tensors:
        raise InputError("the saved training state lacks the random state")
    torch.set_rng_state(tensors[_RANDOM])
    if (saved := tensors.get(f"{_RANDOM}/{device.type}")) is not None:
        torch.get_device_module(device.type).set_rng_state(saved)
