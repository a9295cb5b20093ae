"""The processes of one run: how they find each other, shard weights and average gradients.

Functions that say "every process calls it" communicate: if one process did not call them, the
others would wait for it without end.
"""

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

# One process may pretrain encoders or evaluate for hours while the others wait for it; the default
# of 10 to 30 minutes would end the run.
_TIMEOUT = timedelta(days=7)


def build_accelerator(
    device: str = "auto", report_to: Sequence[str] = (), folder: Path | None = None
) -> Accelerator:
    """Return the accelerator, which knows the device and the other processes of this run.

    Args:
        device: a name for `choose_device`; accelerate picks the GPU of each process.
        report_to: names of trackers, such as "tensorboard".
        folder: for the files of trackers.

    Returns:
        The accelerator, connected with the other processes.

    Raises:
        UsageError: there is no such kind of device.
        EnvironmentFault: a tracker is not installed, or this machine does not have the device.
    """
    for name in report_to:
        if find_spec(name) is None:
            raise EnvironmentFault(f"{name} is not installed", f"Try: pip install {name}")
    # A batch without [SEG] reaches neither projection nor decoder. DistributedDataParallel would
    # wait for their gradients without end if it did not look for unused parameters.
    return Accelerator(
        cpu=choose_device(device).type == "cpu",
        mixed_precision="no",  # `calico.model.precision` decides, in every step
        log_with=list(report_to) or None,
        project_dir=folder,
        kwargs_handlers=[
            DistributedDataParallelKwargs(find_unused_parameters=True),
            InitProcessGroupKwargs(timeout=_TIMEOUT),
        ],
    )


def shard(model: Calico, accelerator: Accelerator) -> None:
    """Shard every weight of a model over the processes (FSDP2), in place.

    Each process then stores 1 / n of each weight, of its gradient and of its moments.
    """
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    # Each layer of the language model is a unit of its own: it is gathered before its forward and
    # backward pass and freed after them, so only a few of 32 layers are complete at a time.
    for layer in decoder_layers(model.language):
        fully_shard(layer, mesh=mesh)
    # Everything else is one unit, that of the root. The model's code reads its weights outside of
    # the modules' own forward (queries, embeddings, CEM, CAMs), when FSDP would have freed them.
    # So this unit stays gathered from the forward to the end of the backward pass.
    fully_shard(model, mesh=mesh, reshard_after_forward=False)


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor in full that may be sharded over processes; every process calls it."""
    full: Tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full


def like(value: Tensor, weight: Tensor) -> Tensor:
    """Return a full tensor sharded in the same way as a weight, on the weight's device."""
    # Every process has the full value, from a checkpoint that all of them read.
    if isinstance(weight, DTensor) and value.shape == weight.shape:
        return distribute_tensor(value, weight.device_mesh, weight.placements)
    # AdamW's step counter is a scalar: it is returned as it is.
    return value.to(weight.device) if value.ndim else value


def mean_gradients(weights: Sequence[nn.Parameter]) -> None:
    """Replace gradients by their mean over all processes; every process calls it."""
    if not distributed.is_initialized():
        return
    # Zeros for a missing gradient: the processes must send vectors of the same length, and another
    # process may have a gradient there.
    gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in weights]
    flat = _flat(gradients)
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    for weight, part in zip(weights, _apart(flat, weights), strict=True):
        weight.grad = part


@torch.no_grad()
def send_from(owner: int, tensors: Sequence[Tensor]) -> None:
    """Copy the values of tensors from one process to all others, in place; every process calls it.

    Args:
        owner: rank of the process that sends.
        tensors: of one dtype, on one device; of the same shapes in all processes.
    """
    if not distributed.is_initialized() or not tensors:
        return
    flat = _flat(tensors)
    distributed.broadcast(flat, owner)
    for one, part in zip(tensors, _apart(flat, tensors), strict=True):
        one.copy_(part)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    """Return the values of tensors as one vector."""
    # One long message is much faster than hundreds of short ones.
    return torch.cat([one.reshape(-1) for one in tensors])


def _apart(flat: Tensor, shapes_of: Sequence[Tensor]) -> list[Tensor]:
    """Return the parts of a vector of `_flat`, in the shapes of the tensors that it was made of."""
    parts = torch.split(flat, [one.numel() for one in shapes_of])
    return [part.view_as(one) for part, one in zip(parts, shapes_of, strict=True)]


def share_buffers(module: nn.Module) -> None:
    """Copy the first process's buffers to all others; every process calls it."""
    # Batch norms collect their statistics from the samples of each process, which differ.
    if distributed.is_initialized():
        for buffer in module.buffers():
            distributed.broadcast(buffer, 0)
