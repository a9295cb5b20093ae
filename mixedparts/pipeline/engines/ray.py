"""Run tasks on a Ray cluster whose machines share the file systems of the build and the sources."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

import ray

from mixedparts.storage.shards import Commit

T = TypeVar("T")


class RayEngine:
    """Runs tasks as Ray Core tasks, on the running cluster or on one that is started here.

    Args:
        workers: number of CPUs of a cluster that is started here; half of the tasks in flight.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def run(self, work: Callable[[T], Commit], tasks: Iterable[T]) -> Iterator[Commit]:
        """Yield commit records as tasks end."""
        if not ray.is_initialized():
            ray.init(num_cpus=self._workers, include_dashboard=False, log_to_driver=False)
        remote = ray.remote(work)
        queue = iter(tasks)
        # Two tasks for each worker, as in the local engine. Files pass through the shared file
        # system; Ray carries only tasks and commit records.
        running = [remote.remote(task) for task in islice(queue, 2 * self._workers)]
        while running:
            done, running = ray.wait(running)
            running += [remote.remote(task) for task in islice(queue, len(done))]
            yield from ray.get(done)

    def close(self) -> None:
        """Disconnect from the cluster, and stop it if it was started here."""
        ray.shutdown()
