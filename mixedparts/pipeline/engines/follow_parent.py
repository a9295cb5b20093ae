"""The end of worker processes: none of them outlives the process that started it.

Whatever ends the main process, also SIGKILL, its workers end at once and write nothing more. On
Linux the kernel sees to that. Elsewhere, and for a process whose parent is gone before it could ask
the kernel, a thread waits for the end of the main process.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from functools import partial

_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux's prctl(2)
_SECONDS = 0.2  # between two looks at the parent


def follow_parent() -> None:
    """Let this process end with the process that started it, and ignore interrupts."""
    # Ctrl-C reaches all processes of a terminal. The main process alone handles it and ends its
    # workers; a worker that ended by itself would look like one that crashed.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    # Of a worker from a fork server, the parent is that server, which learns late of the end of the
    # main process while it is importing. The main process itself is watched instead.
    main = multiprocessing.parent_process()
    wait = partial(_wait_for_parent, os.getppid()) if main is None else main.join

    def watch() -> None:
        wait()
        # This process must end, or it would wait for tasks, or in a collective, forever. `sys.exit`
        # would end only this thread.
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _wait_for_parent(parent: int) -> None:
    """Return when the parent of this process has ended: the process then gets another one."""
    while os.getppid() == parent:
        time.sleep(_SECONDS)


def die_with_parent(parent: int | None = None) -> None:
    """Ask the kernel to kill this process when its parent ends; only Linux offers that.

    Args:
        parent: process that started this one; if it is gone already, this process ends.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os._exit(1)
