"""Pools of worker processes: forked from a fork server, deaf to Ctrl-C, bound to this process.

Workers are forked from a fork server and not from this process, because forking a process that has
threads, as pyarrow and OpenCV start them, can deadlock. The fork server imports the modules of the
tasks, so that a new worker starts with them. It does so while this process still imports and plans
(`warm_up`).
"""

from __future__ import annotations

import ast
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver, resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import ParamSpec, TypeVar

from mixedparts.errors import EnvironmentFault, MixedPartsError, UsageError

P = ParamSpec("P")
R = TypeVar("R")
MAIN_PROCESS = "MIXEDPARTS_MAIN_PROCESS"
"""Environment variable of the fork server: the process that started it."""
_PRELOADED = (
    "mixedparts.pipeline.engines.preload",
    "mixedparts.pipeline.read",
    "mixedparts.pipeline.write",
)
_RUNS_MAIN_AGAIN = 77  # exit code of a worker that came to a call of its main module


def warm_up() -> None:
    """Start the fork server, which imports the modules of the tasks; later calls do nothing."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(_PRELOADED))
    # Started first, because starting it unblocks the signal that is blocked next.
    resource_tracker.ensure_running()
    # The fork server and its workers inherit the mask: Ctrl-C is for the main process alone, and
    # would print a traceback for each process that is importing.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.environ[MAIN_PROCESS] = str(os.getpid())
    try:
        forkserver.ensure_running()
    finally:
        del os.environ[MAIN_PROCESS]
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def make_pool(workers: int, initializer: Callable[[], None]) -> ProcessPoolExecutor:
    """Return a pool of worker processes.

    Args:
        workers: number of processes.
        initializer: runs first in each of them; calls `follow_parent`.

    Returns:
        The pool; its processes start with the first task.
    """
    warm_up()
    return _Pool(
        workers, mp_context=multiprocessing.get_context("forkserver"), initializer=initializer
    )


class _Pool(ProcessPoolExecutor):
    """A pool that is broken, like one without a worker, if its fork server ends."""

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Submit a task; the first ones start the processes.

        Raises:
            BrokenProcessPool: the fork server or a worker ended by itself.
        """
        try:
            return super().submit(fn, *args, **kwargs)
        except (EOFError, ConnectionError) as error:
            raise BrokenProcessPool("the fork server ended") from error


def worker_died(
    workers: Iterable[BaseProcess], kept: str = "finished work is kept"
) -> MixedPartsError:
    """Return the error for a pool of worker processes of which one ended by itself.

    Args:
        workers: processes of the pool.
        kept: what a second run finds.
    """
    if any(worker.exitcode == _RUNS_MAIN_AGAIN for worker in workers):
        return _no_guard(getattr(sys.modules["__main__"], "__file__", "the script"))
    return EnvironmentFault(
        "a worker process died, most likely because memory ran out",
        f"Run the same command again with fewer --workers; {kept}.",
    )


def check_main_module(workers: int) -> None:
    """Check that worker processes can import the main module; call it before any work.

    Worker processes import the script that started them. If that calls a function of this project
    at its top level, each of them would run it again.

    Args:
        workers: number of processes that will be started; 1 needs no check.

    Raises:
        UsageError: the script has no `if __name__ == "__main__":`.
    """
    # Python marks a process that is importing the main module of its parent. It must end without a
    # word: the main process reports the fault.
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        os._exit(_RUNS_MAIN_AGAIN)
    if workers > 1 and (script := _unguarded_script()):
        raise _no_guard(script)


def _no_guard(script: object) -> UsageError:
    return UsageError(
        f'{script} calls this outside of `if __name__ == "__main__":`. Worker processes import the'
        " script that started them, so each of them would run it again.",
        "Put the call below that line, or use one worker.",
    )


def _unguarded_script() -> Path | None:
    """Return the script that runs as the main module if it has no guard, else None."""
    main = sys.modules["__main__"]
    # Of a module that `python -m` runs, workers import the module under its name; a console script
    # of pip has a guard. An interactive session has no file, and workers import nothing.
    file = getattr(main, "__file__", None)
    if file is None:
        return None
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None
    guarded = any(
        isinstance(node, ast.Compare) and "__name__" in ast.unparse(node) for node in ast.walk(tree)
    )
    return None if guarded else Path(file)
