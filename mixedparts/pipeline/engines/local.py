"""Tasks on this machine: in this process for one worker, else in a pool of processes."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import forkserver
from typing import TypeVar

from mixedparts.errors import EnvironmentFault
from mixedparts.pipeline.arrow_setup import set_up_arrow

T = TypeVar("T")
R = TypeVar("R")
_WORK = ("mixedparts.pipeline.read", "mixedparts.pipeline.write")  # modules that every worker needs


class LocalEngine:
    """Runs tasks with `workers` processes, which live until the engine is closed."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None
        self._context = multiprocessing.get_context("forkserver")
        if workers > 1:
            warm_up()

    def run(self, work: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]:
        """Yield results as tasks end, never with more than two tasks a worker queued."""
        queue = list(tasks)
        if self._workers == 1 or len(queue) < 2:
            yield from map(work, queue)
            return
        try:
            yield from _in_flight(self._processes(), work, iter(queue), 2 * self._workers)
        except BrokenProcessPool as error:
            raise EnvironmentFault(
                "a worker process died, most likely for want of memory",
                "Run the same command again with fewer --workers; finished shards are kept.",
            ) from error

    def _processes(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self._workers, mp_context=self._context, initializer=_begin_worker
            )
        return self._pool

    def close(self) -> None:
        """End the processes; tasks that have not begun are dropped."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


def warm_up() -> None:
    """Let the process that workers are forked from begin to import; once is enough."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(_WORK))
    forkserver.ensure_running()


def _in_flight(
    pool: ProcessPoolExecutor, work: Callable[[T], R], tasks: Iterator[T], most: int
) -> Iterator[R]:
    running: set[Future[R]] = {pool.submit(work, task) for task in islice(tasks, most)}
    while running:
        done, running = wait(running, return_when=FIRST_COMPLETED)
        running |= {pool.submit(work, task) for task in islice(tasks, len(done))}
        for future in done:
            yield future.result()


def _begin_worker() -> None:
    """Leave Ctrl-C to the parent, end when the parent is gone, look for garbage seldom.

    Records are many small objects without cycles: the usual rhythm of collections took a twentieth
    of the time of reading.
    """
    gc.set_threshold(100_000, 50, 50)
    set_up_arrow()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
