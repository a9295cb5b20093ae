"""The processes of one run: how they find each other, average gradients and send tensors.

Functions that say "every process calls it" communicate: if one process did not call them, the
others would wait for it without end.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import (
    DistributedDataParallelKwargs,
    InitProcessGroupKwargs,
)
from torch import Tensor, distributed, nn

from calico.runtime.device import choose_device, exact_products
from calico.runtime.waiting import join, wait_for_everyone
from mixedparts.errors import EnvironmentFault, UsageError

T = TypeVar("T")

# Of one message between processes: a process that does not answer for so long is lost. Where one of
# them works alone for hours, the others wait in `calico.runtime.waiting`.
TIMEOUT = timedelta(minutes=30)


def build_accelerator(
    device: str = "auto", report_to: Sequence[str] = (), folder: Path | None = None
) -> Accelerator:
    """Return the accelerator, which knows the device and the other processes of this run.

    Args:
        device: a name for `choose_device`; of several processes, accelerate gives each its own GPU.
        report_to: names of trackers, such as "tensorboard".
        folder: for the files of trackers.

    Returns:
        The accelerator, connected with the other processes.

    Raises:
        UsageError: there is no such kind of device, or several processes are given one GPU.
        EnvironmentFault: a tracker is not installed, or this machine does not have the device.
    """
    for name in report_to:
        if find_spec(name) is None:
            raise EnvironmentFault(f"{name} is not installed", f"Try: pip install {name}")
    chosen = choose_device(device)
    exact_products()
    if device.startswith("cuda:"):
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise UsageError(
                f"several processes cannot share {device}",
                "Leave out --device: each process takes the GPU of its number.",
            )
        # accelerate takes the current GPU, which is the first one otherwise.
        torch.cuda.set_device(chosen)
    # A batch without [SEG] reaches neither projection nor decoder. DistributedDataParallel would
    # wait for their gradients without end if it did not look for unused parameters.
    accelerator = Accelerator(
        cpu=chosen.type == "cpu",
        mixed_precision="no",  # `calico.model.precision` decides, in every step
        log_with=list(report_to) or None,
        project_dir=folder,
        kwargs_handlers=[
            DistributedDataParallelKwargs(find_unused_parameters=True),
            InitProcessGroupKwargs(timeout=TIMEOUT),
        ],
    )
    join(accelerator)
    return accelerator


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


def collected(accelerator: Accelerator, own: T) -> list[T] | None:
    """Return the values of all processes in the first one, None in the others.

    Every process calls it, and may have worked for long.

    Args:
        accelerator: knows the other processes.
        own: value of this process; it is pickled where there are others.

    Returns:
        One value a process, by rank.

    Raises:
        EnvironmentFault: a process has ended, or its machine is gone.
    """
    if accelerator.num_processes == 1:
        return [own]
    wait_for_everyone(accelerator)
    values: list[Any] | None = None
    if accelerator.is_main_process:
        values = [None] * accelerator.num_processes
    distributed.gather_object(own, values)
    return values
