"""Run tasks on this machine: in this process for one worker, otherwise in a pool of processes.

Workers are forked from a fork server and not from this process, because forking a process that has
threads, as pyarrow starts them, can deadlock. The fork server imports the modules of the tasks, so
that a new worker starts with them. It does so while this process still imports and plans
(`warm_up`).
"""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import forkserver
from typing import TypeVar

from mixedparts.errors import EnvironmentFault
from mixedparts.pipeline.arrow_setup import set_up_arrow
from mixedparts.pipeline.engines.follow_parent import follow_parent

T = TypeVar("T")
R = TypeVar("R")
_TASK_MODULES = ("mixedparts.pipeline.read", "mixedparts.pipeline.write")


class LocalEngine:
    """Runs tasks with a number of processes, which live until the engine is closed.

    Args:
        workers: number of processes; 1 runs all tasks in this process.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None
        self._context = multiprocessing.get_context("forkserver")
        if workers > 1:
            warm_up()

    def run(self, work: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]:
        """Yield results as tasks end.

        Raises:
            EnvironmentFault: a worker process died.
        """
        queue = list(tasks)
        # Starting processes for a single task would only cost time.
        if self._workers == 1 or len(queue) < 2:
            yield from map(work, queue)
            return
        try:
            # Two tasks for each worker: it has the next one at hand while this process handles the
            # result of the last, and after an error few tasks are still waiting.
            yield from _in_flight(self._processes(), work, iter(queue), 2 * self._workers)
        except BrokenProcessPool as error:
            raise EnvironmentFault(
                "a worker process died, most likely because memory ran out",
                "Run the same command again with fewer --workers; finished shards are kept.",
            ) from error

    def _processes(self) -> ProcessPoolExecutor:
        """Return the pool; its processes start with the first stage that needs them."""
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self._workers, mp_context=self._context, initializer=_set_up_worker
            )
        return self._pool

    def close(self) -> None:
        """End the processes; tasks that have not started are dropped."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


def warm_up() -> None:
    """Start the fork server, which imports the modules of the tasks; later calls do nothing."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(_TASK_MODULES))
    forkserver.ensure_running()


def _in_flight(
    pool: ProcessPoolExecutor, work: Callable[[T], R], tasks: Iterator[T], most: int
) -> Iterator[R]:
    """Yield results as tasks end, with at most `most` tasks submitted at a time."""
    running: set[Future[R]] = {pool.submit(work, task) for task in islice(tasks, most)}
    while running:
        done, running = wait(running, return_when=FIRST_COMPLETED)
        running |= {pool.submit(work, task) for task in islice(tasks, len(done))}
        for future in done:
            yield future.result()


def _set_up_worker() -> None:
    """Set up a worker process: garbage collection, pyarrow, signals, and its end."""
    # Records are many small objects without cycles. With the default thresholds, searching them for
    # cycles took a twentieth of the time of reading.
    gc.set_threshold(100_000, 50, 50)
    set_up_arrow()
    # The parent is the fork server, which ends when the main process does, also if that is killed.
    follow_parent()
