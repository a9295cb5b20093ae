"""Worker processes that a command starts for training on a CPU.

A small model cannot keep two threads busy, so two processes of one thread each do about twice the
work of one. They find each other by the same environment variables as the processes that `torchrun`
starts, which can be used instead.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mixedparts.errors import EnvironmentFault, MixedPartsError, UsageError

_NUMBERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_WORKER = "CALICO_WORKER"  # environment variable of worker processes: who started them


def was_launched() -> bool:
    """Return whether this process has a rank: torchrun or `worker_processes` gave it one.

    Raises:
        UsageError: a variable that torchrun sets is no number.
    """
    for name in _NUMBERS:
        value = os.environ.get(name, "0")
        if not value.isdigit():
            raise UsageError(
                f"{name}={value!r} in the environment is no number",
                f"torchrun sets it; without torchrun, type: unset {name}",
            )
    return "RANK" in os.environ


def is_worker() -> bool:
    """Return whether `worker_processes` of another process started this one."""
    return _WORKER in os.environ


@contextmanager
def worker_processes(count: int, module: str, arguments: Sequence[str]) -> Iterator[None]:
    """Run `python -m module arguments` in `count` - 1 worker processes inside the `with` block.

    This process is the first one. The workers have the same command line and end with the block, or
    when this process is killed. If a worker fails, this process ends with exit code 3, or 2 if
    the worker did; only the steps since the last checkpoint are lost.

    Args:
        count: number of processes, this one included; with 1, none is started.
        module: of the command.
        arguments: its command line.

    Yields:
        None, once the workers are started.

    Raises:
        EnvironmentFault, UsageError: a worker failed, and this process lost its connection to it.
    """
    if count < 2 or was_launched():
        yield
        return
    # The system picks a free port. It is free again after this block, and taken a moment later.
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
            env={**os.environ, **shared, **_rank(number), _WORKER: str(os.getpid())},
        )
        for number in range(1, count)
    ]
    # This process becomes rank 0; the variables go again with the block.
    variables = {**shared, **_rank(0)}
    os.environ.update(variables)
    done = threading.Event()
    threading.Thread(target=_watch, args=(others, done), daemon=True).start()
    try:
        yield
    except RuntimeError as error:
        # Only one of them failed: the other lost the connection, and its error explains nothing.
        if lost_peer(error) and (code := _failed(others, wait=2.0)):
            raise _failure(code) from error
        raise
    finally:
        done.set()
        for other in others:
            other.kill()
            other.wait()
        for name in variables:
            os.environ.pop(name, None)


def _rank(number: int) -> dict[str, str]:
    return {"RANK": str(number), "LOCAL_RANK": str(number)}


def lost_peer(error: BaseException) -> bool:
    """Return whether an error says that another process of the run is gone."""
    # torch has no type for it: gloo raises RuntimeError, NCCL DistBackendError, a subclass.
    text = str(error)
    return isinstance(error, RuntimeError) and any(
        mark in text for mark in ("gloo", "NCCL", "Connection closed by peer", "Connection reset")
    )


def _watch(others: Sequence[subprocess.Popen[bytes]], done: threading.Event) -> None:
    """End this process when a worker fails."""
    # The main thread would wait for the worker in a collective without end.
    while not done.wait(0.5):
        code = _failed(others)
        # Three seconds more: if this process fails for the same reason, its own message is better.
        if code and not done.wait(3.0):
            fault = _failure(code)
            print(f"error: {fault}", file=sys.stderr, flush=True)
            for other in others:
                other.kill()
            os._exit(fault.exit_code)


def _failed(others: Sequence[subprocess.Popen[bytes]], wait: float = 0.0) -> int:
    """Return the exit code of a worker that failed, 0 if none does within `wait` seconds."""
    end = time.monotonic() + wait
    while True:
        if codes := [code for other in others if (code := other.poll())]:
            return codes[0]
        if time.monotonic() >= end:
            return 0
        time.sleep(0.05)


def _failure(code: int) -> MixedPartsError:
    """Return the error about a worker that ended with a code; a usage error stays one."""
    # A worker prints its own message; one that a signal ended cannot.
    cause = "its message is above" if code > 0 else "perhaps the machine ran out of memory"
    kind = UsageError if code == UsageError.exit_code else EnvironmentFault
    return kind(
        f"a worker process ended with code {code}; {cause}",
        "Continue with --resume auto and --processes 1 (no workers).",
    )
