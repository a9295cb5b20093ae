"""Where tasks run. An engine names no files and decides nothing about what is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from mixedparts.errors import EnvironmentFault, UsageError
from mixedparts.storage.shards import Commit

T = TypeVar("T")
ENGINES = ("local", "ray")


class Engine(Protocol):
    """Runs tasks in any order and hands back each commit record as it comes."""

    def run(self, work: Callable[[T], Commit], tasks: Iterable[T]) -> Iterable[Commit]:
        """Call `work` once for every task; the first exception ends the run."""
        ...

    def close(self) -> None:
        """Give back what running took."""
        ...


def get_engine(name: str, workers: int) -> Engine:
    """Return the engine of this name.

    Raises:
        UsageError: there is none of this name.
        EnvironmentFault: its extra is not installed.
    """
    if name == "local":
        from mixedparts.pipeline.engines.local import LocalEngine

        return LocalEngine(workers)
    if name == "ray":
        try:
            from mixedparts.pipeline.engines.ray import RayEngine
        except ImportError as error:
            raise EnvironmentFault(
                f"the ray engine needs the package ray: {error}",
                "Install it with: pip install 'mixedparts[ray]'",
            ) from error
        return RayEngine(workers)
    raise UsageError(f"there is no engine '{name}'", f"Known engines: {', '.join(ENGINES)}")
