"""Run tasks on this machine: in this process for one worker, otherwise in a pool of processes."""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing.process import BaseProcess
from typing import TypeVar

from mixedparts.pipeline.arrow_setup import set_up_arrow
from mixedparts.pipeline.engines.follow_parent import follow_parent
from mixedparts.pipeline.engines.worker_pool import (
    check_main_module,
    make_pool,
    warm_up,
    worker_died,
)

T = TypeVar("T")
R = TypeVar("R")


class LocalEngine:
    """Runs tasks with a number of processes, which live until the engine is closed.

    Args:
        workers: number of processes; 1 runs all tasks in this process.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None
        self._children: list[BaseProcess] = []
        check_main_module(workers)
        if workers > 1:
            warm_up()

    def run(self, work: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]:
        """Yield results as tasks end.

        Raises:
            EnvironmentFault: a worker process died.
            UsageError: the script that runs has no `if __name__ == "__main__":`.
        """
        queue = list(tasks)
        # Starting processes for a single task would only cost time.
        if self._workers == 1 or len(queue) < 2:
            for task in queue:
                with rare_collection():
                    result = work(task)
                yield result
            return
        try:
            # Two tasks for each worker: it has the next one at hand while this process handles the
            # result of the last, and after an error few tasks are still waiting.
            yield from self._in_flight(work, iter(queue), 2 * self._workers)
        except BrokenProcessPool:
            raise worker_died(self._children) from None

    def _in_flight(self, work: Callable[[T], R], tasks: Iterator[T], most: int) -> Iterator[R]:
        """Yield results as tasks end, with at most `most` tasks submitted at a time."""
        pool = self._processes()
        running: set[Future[R]] = {pool.submit(work, task) for task in islice(tasks, most)}
        # The pool forgets its processes when one dies, and with them how they ended.
        self._children = multiprocessing.active_children()
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            running |= {pool.submit(work, task) for task in islice(tasks, len(done))}
            for future in done:
                yield future.result()

    def _processes(self) -> ProcessPoolExecutor:
        """Return the pool; its processes start with the first stage that needs them."""
        if self._pool is None:
            self._pool = make_pool(self._workers, _set_up_worker)
        return self._pool

    def close(self) -> None:
        """End the processes; tasks that have not started are dropped."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


RARELY = (1_000_000, 50, 50)
"""Thresholds of the search for cycles. Records are many small objects without cycles: a shard has a
few hundred thousand. To search them at every 100,000 takes a twentieth of the time of reading."""


@contextmanager
def rare_collection() -> Iterator[None]:
    """Search for cycles of objects rarely within the context."""
    thresholds = gc.get_threshold()
    gc.set_threshold(*RARELY)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


def _set_up_worker() -> None:
    """Set up a worker process: garbage collection, pyarrow, signals, and its end."""
    gc.set_threshold(*RARELY)
    set_up_arrow()
    follow_parent()
