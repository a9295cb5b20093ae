"""Run tasks as Ray Core tasks."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from mixedparts.errors import EnvironmentFault
from mixedparts.pipeline.arrow_setup import set_up_arrow
from mixedparts.pipeline.engines import NodeNeeds
from mixedparts.pipeline.engines.local import RARELY
from mixedparts.pipeline.engines.on_ray.code import runtime_environment
from mixedparts.pipeline.engines.on_ray.connection import address_of_cluster, connect, quiet, ray
from mixedparts.pipeline.engines.on_ray.shared_folder import Mark, marked

_NO_NEEDS = NodeNeeds()
T = TypeVar("T")
R = TypeVar("R")
_RETRIES = 3  # by Ray itself, of a task whose process or node was lost
_ROUNDS = 2  # how often a task is submitted again after that
_LOOK_SECONDS = 5.0  # between two looks at the size of the cluster
_NO_CPU_SECONDS = 60.0


class RayEngine:
    """Runs tasks on a running cluster, or on one that is started on this machine.

    Args:
        workers: number of CPUs of a cluster that is started here.
        address: of a running cluster; None: `RAY_ADDRESS` counts.
        needs: what all nodes must see.
        note: gets a line about what a user should know.
    """

    def __init__(
        self,
        workers: int,
        address: str | None = None,
        needs: NodeNeeds = _NO_NEEDS,
        note: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._workers = workers
        self._note = note
        self._exit = ExitStack()
        # Tasks in flight, each with the number of times that it was submitted again.
        self._running: dict[Any, tuple[Any, int]] = {}
        self._waiting = False
        try:
            self._connect(address_of_cluster(address))
            self._mark = self._exit.enter_context(marked(needs))
            self._check_nodes(self._mark)
        except BaseException:
            self.close()
            raise

    def _connect(self, address: str | None) -> None:
        with tempfile.TemporaryDirectory(prefix="mixedparts-code-") as folder:
            # Processes of a cluster that is started here inherit everything from this one.
            environment = {} if address is None else runtime_environment(Path(folder))
            if connect(address, self._workers, environment):
                self._exit.enter_context(quiet())
                # Of a cluster that was running before, this only disconnects.
                self._exit.callback(ray.shutdown)
        if address is not None:
            nodes = sum(node["Alive"] for node in ray.nodes())
            self._note(f"Ray cluster: {_cpus()} CPUs, {nodes} {'node' if nodes == 1 else 'nodes'}")

    def _check_nodes(self, mark: Mark) -> None:
        """Check that every node that can get tasks sees the build folder.

        Raises:
            EnvironmentFault: one does not.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        nodes = [n for n in ray.nodes() if n["Alive"] and n["Resources"].get("CPU", 0) >= 1]
        checks = [
            ray.remote(_check).options(
                num_cpus=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=True),
            )
            for node in nodes
        ]
        for reference in [check.remote(mark) for check in checks]:
            # A node that is lost meanwhile gets no task either.
            with suppress(ray.exceptions.RayError):
                fault = ray.get(reference)
                if fault is not None:
                    raise fault

    def run(self, work: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]:
        """Yield results as tasks end.

        Raises:
            EnvironmentFault: a task was lost too often, a node does not see the build folder, or
                the cluster is gone.
        """
        submit = ray.remote(_run).options(max_retries=_RETRIES).remote
        queue = iter(tasks)
        most, looked, last = 0, 0.0, time.monotonic()
        try:
            while True:
                now = time.monotonic()
                if now - looked > _LOOK_SECONDS:
                    most, looked = self._most_in_flight(now - last), now
                while len(self._running) < most and (task := next(queue, None)) is not None:
                    self._running[submit(work, task, self._mark)] = task, 0
                if not self._running:
                    return
                done, _ = ray.wait(list(self._running), timeout=_LOOK_SECONDS)
                for reference in done:
                    last = time.monotonic()
                    task, rounds = self._running.pop(reference)
                    try:
                        result = ray.get(reference)
                    except ray.exceptions.RayTaskError as error:
                        raise _unwrapped(error) from None
                    except ray.exceptions.RayError as error:
                        if rounds == _ROUNDS:
                            raise _lost(task, error) from None
                        self._running[submit(work, task, self._mark)] = task, rounds + 1
                        continue
                    if isinstance(result, _NotShared):
                        raise result.fault
                    yield result
        except ray.exceptions.RayError as error:
            raise _cluster_gone(error) from None
        finally:
            self._cancel()

    def _most_in_flight(self, idle: float) -> int:
        """Return how many tasks to submit at a time, as the cluster is now.

        Args:
            idle: seconds since a task has ended.
        """
        cpus = _cpus()
        waiting = cpus == 0 and idle > _NO_CPU_SECONDS
        if waiting and not self._waiting:
            self._note("the Ray cluster has no CPU for tasks now; waiting for one")
        self._waiting = waiting
        # Two tasks for each CPU, as in the local engine. Tasks beyond the CPUs are also what an
        # autoscaler adds nodes for.
        return 2 * max(cpus, self._workers)

    def _cancel(self) -> None:
        """Cancel the tasks that are still in flight."""
        for reference in self._running:
            with suppress(Exception):
                ray.cancel(reference, force=True)
        self._running.clear()

    def close(self) -> None:
        """Disconnect from the cluster, and stop it if it was started here."""
        self._cancel()
        self._exit.close()


class _NotShared:
    """Result of a task on a node that does not see the build folder."""

    def __init__(self, fault: EnvironmentFault) -> None:
        self.fault = fault


def _run(work: Callable[[T], R], task: T, mark: Mark) -> R | _NotShared:
    """Run a task in a process of a node."""
    _set_up_process()
    # Nodes can join a cluster later. One that does not see the folder would make one of its own.
    fault = _check(mark)
    return work(task) if fault is None else _NotShared(fault)


def _check(mark: Mark) -> EnvironmentFault | None:
    """Return what is wrong with the build folder on this node, None if nothing is."""
    try:
        mark.check()
    except EnvironmentFault as fault:
        return fault
    return None


@cache
def _set_up_process() -> None:
    """Set up a process of a node, once: garbage collection and pyarrow, as in a local worker."""
    gc.set_threshold(*RARELY)
    set_up_arrow()


def _cpus() -> int:
    return int(ray.cluster_resources().get("CPU", 0))


def _lost(task: Any, error: Exception) -> EnvironmentFault:
    name = getattr(task, "name", "a task")
    times = (_ROUNDS + 1) * (_RETRIES + 1)
    return EnvironmentFault(
        f"Ray lost the task {name} {times} times, the last time because: {_first_line(error)}",
        "Look at the logs of the nodes (memory that ran out is the usual cause), and run the same"
        " command again; finished work is kept.",
    )


def _cluster_gone(error: Exception) -> EnvironmentFault:
    return EnvironmentFault(
        f"the Ray cluster can no longer be used: {_first_line(error)}",
        "Start it again and run the same command; finished work is kept.",
    )


def _unwrapped(error: Exception) -> Exception:
    """Return what a task has raised, without the lines of Ray around it."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, Exception) and not isinstance(cause, ImportError):
        return cause
    cause = cause or error
    reason = f"{type(cause).__name__}: {_first_line(cause)}"
    return EnvironmentFault(
        f"a node of the Ray cluster cannot run a task: {reason}",
        "Install the dependencies of mixedparts on all nodes, in the versions that are here.",
    )


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
