"""Processes and threads of a training command, and which process prints."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from calico.runtime.launch import is_worker, lost_peer, was_launched, worker_processes
from mixedparts.errors import EnvironmentFault

if TYPE_CHECKING:
    from calico.config.calico import CalicoConfig
    from mixedparts.progress import Progress


@contextmanager
def launched(
    config: CalicoConfig, arguments: argparse.Namespace, module: str, words: Sequence[str]
) -> Iterator[Progress]:
    """Set up this process and start worker processes, which end with the `with` block.

    Args:
        config: of the run.
        arguments: with device, processes, threads and quiet.
        module: of the command, which worker processes run too.
        words: its command line.

    Yields:
        Progress reports of this process; silent in a worker.

    Raises:
        UsageError: there is no such kind of device.
        EnvironmentFault: this machine has no such device, or another process of the run failed.
    """
    from calico.runtime.device import available_cores, prepare_process
    from mixedparts.pipeline.engines.follow_parent import follow_parent
    from mixedparts.progress import Silent, terminal_progress

    count = _processes(config, arguments, available_cores())
    if is_worker():
        follow_parent()
    # Processes share the cores evenly. The variable is for worker processes and libraries that are
    # loaded later; a value that the caller set stays.
    threads = arguments.threads or max(1, available_cores() // count)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    prepare_process(threads)
    with worker_processes(count, module, words):
        try:
            yield terminal_progress(arguments.quiet) if prints_output() else Silent()
        except RuntimeError as error:
            if not (is_worker() and lost_peer(error)):
                raise
            # The first process prints the cause and then ends its workers, this one too.
            time.sleep(10)
            raise EnvironmentFault("another process of this run ended") from error


def prints_output() -> bool:
    """Return whether this process is the one that prints."""
    # Of torchrun and of our own worker processes alike; without either there is no RANK.
    return os.environ.get("RANK", "0") == "0"


def planned_processes(config: CalicoConfig, arguments: argparse.Namespace) -> int:
    """Return how many processes would share a step: those of torchrun, or of --processes."""
    if was_launched():
        return int(os.environ.get("WORLD_SIZE", "1"))
    if arguments.processes is not None:
        return int(arguments.processes)
    from calico.runtime.device import available_cores

    return _processes(config, arguments, available_cores())


def _processes(config: CalicoConfig, arguments: argparse.Namespace, cores: int) -> int:
    """Return how many processes share this machine's cores."""
    if was_launched():
        return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if arguments.processes is not None:
        chosen: int = arguments.processes
        return chosen
    from calico.runtime.device import choose_device

    # Only a model that pretrains its own encoders is small enough to gain by two processes: see
    # `calico.runtime.launch`.
    on_cpu = choose_device(arguments.device).type == "cpu"
    small = config.pretraining.steps > 0 and config.training.batch_size > 1
    return 2 if small and cores > 1 and on_cpu else 1
