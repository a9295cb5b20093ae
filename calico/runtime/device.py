"""How a process of ours uses the machine: device, threads, memory, arithmetic."""

from __future__ import annotations

import ctypes
import os
import re
import sys

import torch

from mixedparts.errors import EnvironmentFault, UsageError

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def available_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def prepare_process(threads: int | None = None) -> None:
    """Set up this process for training or prediction on a CPU.

    Every step frees and takes the same large buffers; with glibc's defaults they go back to the
    system in between, which costs up to a third of a small model's step.

    Args:
        threads: of torch; all cores by default.
    """
    torch.set_num_threads(threads or available_cores())
    torch.set_flush_denormal(True)
    if sys.platform == "linux":
        try:
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
            libc.mallopt(_M_TRIM_THRESHOLD, 1 << 30)
        except (OSError, AttributeError):  # another C library: slower, not wrong
            return


def choose_device(name: str = "auto") -> torch.device:
    """Return the device that a name means.

    Args:
        name: "cpu", "cuda", "cuda:N", "mps", or "auto": CUDA where there is one, else the CPU.

    Raises:
        UsageError: it is no such name.
        EnvironmentFault: this machine has no such device.
    """
    found = re.fullmatch(r"(auto|cpu|mps|cuda)|cuda:(\d{1,3})", name)
    if found is None:
        raise UsageError(
            f"there is no kind of device '{name}'", "Devices: auto, cpu, cuda, cuda:N, mps."
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return torch.device("cpu")
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise EnvironmentFault("this machine has no MPS device", "Use --device cpu.")
        return torch.device("mps")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    number = int(found[2] or 0)
    if number >= count:
        there = f"{count} of them, numbered from 0" if count else "none that torch can use"
        raise EnvironmentFault(
            f"{name} is not there: this machine has {there}", "Use --device cpu."
        )
    return torch.device("cuda", number)
