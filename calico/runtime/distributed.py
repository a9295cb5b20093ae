"""The processes of one run: how they find each other, share weights and add up gradients."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import (
    DistributedDataParallelKwargs,
    InitProcessGroupKwargs,
)
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from calico.model.calico import Calico
from calico.model.language import decoder_layers
from calico.runtime.device import choose_device
from mixedparts.errors import EnvironmentFault

# One process may pretrain encoders or evaluate for hours while the others wait for it.
_PATIENCE = timedelta(days=7)


def build_accelerator(
    device: str = "auto", report_to: Sequence[str] = (), folder: Path | None = None
) -> Accelerator:
    """Return who knows the device and the other processes of this run.

    Args:
        device: "cpu", or "auto" for a GPU where there is one.
        report_to: names of trackers.
        folder: where they may write.

    Raises:
        EnvironmentFault: a tracker is not installed.
    """
    for name in report_to:
        if find_spec(name) is None:
            raise EnvironmentFault(f"{name} is not installed", f"Try: pip install {name}")
    # Not every weight is reached by every batch: some have no [SEG].
    return Accelerator(
        cpu=choose_device(device).type == "cpu",
        mixed_precision="no",  # `calico.model.precision` decides, in every step
        log_with=list(report_to) or None,
        project_dir=folder,
        kwargs_handlers=[
            DistributedDataParallelKwargs(find_unused_parameters=True),
            InitProcessGroupKwargs(timeout=_PATIENCE),
        ],
    )


def shard(model: Calico, accelerator: Accelerator) -> None:
    """Leave every process a part of each weight (FSDP2), in place.

    The layers of the language model are gathered one at a time; all else, which the model's own
    code reads in many places, is gathered for the whole step.
    """
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    for layer in decoder_layers(model.language):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh, reshard_after_forward=False)


def whole(tensor: Tensor) -> Tensor:
    """Return all of a tensor that processes may share; every process calls it."""
    found: Tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return found


def like(value: Tensor, weight: Tensor) -> Tensor:
    """Return a whole tensor shared out among the processes as a weight is, on its device."""
    if isinstance(weight, DTensor) and value.shape == weight.shape:
        return distribute_tensor(value, weight.device_mesh, weight.placements)
    return value.to(weight.device) if value.ndim else value


def mean_gradients(weights: Sequence[nn.Parameter]) -> None:
    """Replace gradients by their mean over all processes; every process calls it."""
    if not distributed.is_initialized():
        return
    found = [torch.zeros_like(one) if one.grad is None else one.grad for one in weights]
    flat = _flat(found)
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    for weight, part in zip(weights, _apart(flat, weights), strict=True):
        weight.grad = part


@torch.no_grad()
def send_from(owner: int, tensors: Sequence[Tensor]) -> None:
    """Give all processes one's values of some tensors, in place; every process calls it.

    Args:
        owner: rank of that process.
        tensors: of one kind of numbers, on one device.
    """
    if not distributed.is_initialized() or not tensors:
        return
    flat = _flat(tensors)
    distributed.broadcast(flat, owner)
    for one, part in zip(tensors, _apart(flat, tensors), strict=True):
        one.copy_(part)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    """Return all numbers of some tensors in one vector, which is sent at once."""
    return torch.cat([one.reshape(-1) for one in tensors])


def _apart(flat: Tensor, like_these: Sequence[Tensor]) -> list[Tensor]:
    """Return the parts of such a vector in the shapes of the tensors that went into it."""
    parts = torch.split(flat, [one.numel() for one in like_these])
    return [part.view_as(one) for part, one in zip(parts, like_these, strict=True)]


def share_buffers(module: nn.Module) -> None:
    """Give all processes the first one's buffers, such as the statistics of batch norms."""
    if distributed.is_initialized():
        for buffer in module.buffers():
            distributed.broadcast(buffer, 0)
