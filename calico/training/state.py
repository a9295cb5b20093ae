"""What a resumed run needs beside the weights: the optimiser's moments and the random state.

Tensors go to `training.safetensors`, plain values to `checkpoint.json`; nothing is pickled. The
order of samples and their variations are functions of seed and step and need no saving.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from mixedparts.errors import InputError

_RANDOM = "random_state"
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def optimizer_tensors(optimizer: AdamW, weights: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Return the optimiser's tensors under `weight name/moment`, and torch's random state."""
    tensors = {_RANDOM: torch.get_rng_state()}
    for name, weight in weights.items():
        for moment, value in optimizer.state[weight].items():
            tensors[f"{name}/{moment}"] = value
    return tensors


def restore_optimizer(
    optimizer: AdamW, weights: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]
) -> None:
    """Put the tensors of `optimizer_tensors` back.

    Raises:
        InputError: the random state or a moment of a weight that was updated is missing.
    """
    for name, weight in weights.items():
        saved = {moment: tensors.get(f"{name}/{moment}") for moment in _MOMENTS}
        found = {moment: value.clone() for moment, value in saved.items() if value is not None}
        if len(found) not in (0, len(_MOMENTS)):
            lacking = ", ".join(moment for moment in _MOMENTS if moment not in found)
            raise InputError(f"the saved training state of {name} lacks {lacking}")
        if found:  # a weight that no loss reaches has none
            optimizer.state[weight] = found
    if _RANDOM not in tensors:
        raise InputError("the saved training state lacks the random state")
    torch.set_rng_state(tensors[_RANDOM])
