"""Setup of a process: device, threads, memory allocation."""

from __future__ import annotations

import ctypes
import os
import re
import sys

import torch

from mixedparts.errors import EnvironmentFault, UsageError

# Parameters of glibc's `mallopt`, from malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def available_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    # In a container or under `taskset`, `cpu_count` counts cores that the process does not get.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def prepare_process(threads: int | None = None) -> None:
    """Set up this process for training or prediction.

    Args:
        threads: number of torch's threads; by default one for each core.
    """
    torch.set_num_threads(threads or available_cores())
    # Arithmetic on denormal numbers, which small gradients become, is many times slower. This
    # reaches this thread and later ones only, so it comes before torch starts threads of its own.
    torch.set_flush_denormal(True)
    exact_products()
    # Every step frees and takes the same large buffers. By default glibc gives them back to the
    # system in between, which costs up to a third of a small model's step.
    if sys.platform == "linux":
        try:
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
            libc.mallopt(_M_TRIM_THRESHOLD, 1 << 30)
        except (OSError, AttributeError):  # another C library: slower, not wrong
            return


def exact_products() -> None:
    """Compute in float32 on a GPU where float32 is configured, as on a CPU."""
    # As `calico.model.precision.arithmetic` does for forward passes; backward passes run outside of
    # it. Products of matrices are exact unless a program has changed it.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def fixed_order() -> None:
    """Take kernels that add in a fixed order; torch warns of operations that have none."""
    # Read when CUDA is used first. cuBLAS needs it for products that are the same in every run.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    # Where torch only warns, the backward passes of these two add in any order. Without them it
    # takes the flash kernel, which has an order, or plain products.
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of a name.

    Args:
        name: "cpu", "cuda", "cuda:N", "mps", or "auto": CUDA if there is one, else the CPU.

    Raises:
        UsageError: the name is none of these.
        EnvironmentFault: this machine does not have the device.
    """
    match = re.fullmatch(r"(auto|cpu|mps|cuda)|cuda:(\d{1,3})", name)
    if match is None:
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
    number = int(match[2] or 0)
    if number >= count:
        there = f"{count} of them, numbered from 0" if count else "none that torch can use"
        raise EnvironmentFault(
            f"{name} is not there: this machine has {there}", "Use --device cpu."
        )
    return torch.device("cuda", number)
