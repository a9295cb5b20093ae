"""How a process of ours uses the machine: threads, memory, arithmetic."""

from __future__ import annotations

import ctypes
import os
import sys

import torch

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def prepare_process(threads: int | None = None) -> None:
    """Set up this process for training or prediction on a CPU.

    Every step frees and takes the same large buffers; with glibc's defaults they go back to the
    system in between, which costs up to a third of a small model's step.

    Args:
        threads: of torch; all cores by default.
    """
    torch.set_num_threads(threads or os.cpu_count() or 1)
    torch.set_flush_denormal(True)
    if sys.platform == "linux":
        try:
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
            libc.mallopt(_M_TRIM_THRESHOLD, 1 << 30)
        except (OSError, AttributeError):  # another C library: slower, not wrong
            return
