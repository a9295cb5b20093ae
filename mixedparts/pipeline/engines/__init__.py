"""Engines run the tasks of a stage: in this process, in worker processes, or on a Ray cluster.

An engine only schedules. Which tasks there are, and which of them are done already, follows from
the plan and the commit records, so an engine can be changed between two runs of one build.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from mixedparts.errors import UsageError, missing_package, near_names

T = TypeVar("T")
R = TypeVar("R")
ENGINES = ("local", "ray")


@dataclass(frozen=True, slots=True)
class NodeNeeds:
    """What every machine of a cluster must see.

    Attributes:
        build: the build folder; None where the machines need not share one.
        files: files of the sources.
    """

    build: Path | None = None
    files: tuple[Path, ...] = ()


class Engine(Protocol):
    """Runs tasks in any order."""

    def run(self, work: Callable[[T], R], tasks: Iterable[T]) -> Iterable[R]:
        """Call `work` once for every task, and yield each result when it is ready.

        The first exception of a task ends the run and is raised here.
        """
        ...

    def close(self) -> None:
        """Release the processes and connections of the engine."""
        ...


_NO_NEEDS = NodeNeeds()


def get_engine(
    name: str,
    workers: int,
    address: str | None = None,
    needs: NodeNeeds = _NO_NEEDS,
    note: Callable[[str], None] = lambda line: None,
) -> Engine:
    """Return an engine by name.

    Args:
        name: `local` or `ray`.
        workers: number of worker processes; of Ray, where a cluster is started on this machine.
        address: of a running Ray cluster; None: `RAY_ADDRESS` counts.
        needs: what all machines of a cluster must see.
        note: gets a line about what a user should know.

    Returns:
        The engine, ready to run tasks.

    Raises:
        UsageError: there is no engine of this name, or the address is not one of Ray's.
        EnvironmentFault: the package that the engine needs is not installed, its cluster cannot be
            reached, or a machine of it does not see what it needs.
    """
    # Imported only when chosen: Ray is an extra, and a slow import.
    if name == "local":
        from mixedparts.pipeline.engines.local import LocalEngine

        return LocalEngine(workers)
    if name == "ray":
        try:
            from mixedparts.pipeline.engines.on_ray.engine import RayEngine
        except ImportError as error:
            raise missing_package(error, "the engine ray") or error from error
        return RayEngine(workers, address, needs, note)
    near = near_names(name, ENGINES)
    raise UsageError(f"there is no engine '{name}'.{near}", f"Known engines: {', '.join(ENGINES)}")
