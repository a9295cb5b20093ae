"""Further processes that a command starts beside itself on a CPU.

A small model keeps no two threads busy, so two processes of one thread each do about twice the
work of one. They meet as those do that `torchrun` starts, which works as well.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_COMPANION = "CALICO_COMPANION"


def was_launched() -> bool:
    """Say whether torchrun, or a command as its companion, started this process."""
    return "RANK" in os.environ


def is_worker() -> bool:
    """Say whether a command started this process beside itself."""
    return _COMPANION in os.environ


@contextmanager
def worker_processes(count: int, module: str, arguments: Sequence[str]) -> Iterator[None]:
    """Run `python -m module arguments` in `count` - 1 further processes inside the `with` block.

    This process is the first one. The others see the same command line, end with the block, and
    end when this process is killed. Should one of them fail, this process ends as well: nothing is
    lost but the steps since the last checkpoint.
    """
    if count < 2 or was_launched():
        yield
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
    }
    others = [
        subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env={**os.environ, **shared, **_rank(number), _COMPANION: "1"},
        )
        for number in range(1, count)
    ]
    mine = {**shared, **_rank(0)}
    os.environ.update(mine)
    done = threading.Event()
    threading.Thread(target=_watch, args=(others, done), daemon=True).start()
    try:
        yield
    finally:
        done.set()
        for other in others:
            other.kill()
            other.wait()
        for name in mine:
            os.environ.pop(name, None)


def follow_parent() -> None:
    """Let a companion end with the process that started it, and leave interrupts to that one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()


def _rank(number: int) -> dict[str, str]:
    return {"RANK": str(number), "LOCAL_RANK": str(number)}


def _watch(others: Sequence[subprocess.Popen[bytes]], done: threading.Event) -> None:
    """End this process when a companion fails: it would wait for it without end."""
    while not done.wait(0.5):
        failed = [other.poll() for other in others if other.poll()]
        if failed and not done.wait(2.0):
            print(
                f"error: a companion process ended with code {failed[0]}; perhaps the machine ran"
                " out of memory\nGo on with --resume auto, and --processes 1, which needs none.",
                file=sys.stderr,
                flush=True,
            )
            for other in others:
                other.kill()
            os._exit(3)
