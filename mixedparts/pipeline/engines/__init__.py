"""Engines run the tasks of a stage: in this process, in worker processes, or on a Ray cluster.

An engine only schedules. Which tasks there are, and which of them are done already, follows from
the plan and the commit records, so an engine can be changed between two runs of one build.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from mixedparts.errors import UsageError, missing_package, near_names
from mixedparts.storage.shards import Commit

T = TypeVar("T")
ENGINES = ("local", "ray")


class Engine(Protocol):
    """Runs tasks in any order."""

    def run(self, work: Callable[[T], Commit], tasks: Iterable[T]) -> Iterable[Commit]:
        """Call `work` once for every task, and yield each result when it is ready.

        The first exception of a task ends the run and is raised here.
        """
        ...

    def close(self) -> None:
        """Release the processes and connections of the engine."""
        ...


def get_engine(name: str, workers: int) -> Engine:
    """Return an engine by name, with a number of worker processes.

    Raises:
        UsageError: there is no engine of this name.
        EnvironmentFault: the package that the engine needs is not installed.
    """
    # Imported only when chosen: Ray is an extra, and a slow import.
    if name == "local":
        from mixedparts.pipeline.engines.local import LocalEngine

        return LocalEngine(workers)
    if name == "ray":
        try:
            from mixedparts.pipeline.engines.ray import RayEngine
        except ImportError as error:
            raise missing_package(error, "the engine ray") or error from error
        return RayEngine(workers)
    near = near_names(name, ENGINES)
    raise UsageError(f"there is no engine '{name}'.{near}", f"Known engines: {', '.join(ENGINES)}")
