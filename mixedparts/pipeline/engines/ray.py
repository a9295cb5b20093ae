"""Tasks on a Ray cluster that shares the build folder's file system."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

import ray

from mixedparts.storage.shards import Commit

T = TypeVar("T")


class RayEngine:
    """Runs tasks as Ray Core tasks, on the running cluster or on one started here."""

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def run(self, work: Callable[[T], Commit], tasks: Iterable[T]) -> Iterator[Commit]:
        """Yield commit records as tasks end, never with more than two tasks a worker queued."""
        if not ray.is_initialized():
            ray.init(num_cpus=self._workers, include_dashboard=False, log_to_driver=False)
        remote = ray.remote(work)
        queue = iter(tasks)
        running = [remote.remote(task) for task in islice(queue, 2 * self._workers)]
        while running:
            done, running = ray.wait(running)
            running += [remote.remote(task) for task in islice(queue, len(done))]
            yield from ray.get(done)

    def close(self) -> None:
        """Leave the cluster."""
        ray.shutdown()
