"""A second process beside this one, for machines with more than one core.

Small tensors do not keep several threads busy, so two processes of one thread each do about twice
the work of one process with two threads.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from torch import multiprocessing

from calico.runtime import prepare_process
from mixedparts.errors import EnvironmentFault


@contextmanager
def beside(
    target: Callable[..., None], *arguments: Any, threads: int = 1
) -> Iterator[Connection[Any, Any]]:
    """Run `target(connection, *arguments)` in a process that ends with the `with` block.

    Args:
        target: a function of a module; talks through the connection it is given.
        arguments: are pickled; tensors in shared memory stay shared.
        threads: of torch in that process.

    Yields:
        our end of the connection; read it with `receive`.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, target, arguments, threads), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.terminate()
        process.join()


def receive(connection: Connection[Any, Any]) -> Any:
    """Return what the other process sent; its failure is raised here.

    Raises:
        EnvironmentFault: it ended without a word, as when the system kills it for memory.
    """
    try:
        message = connection.recv()
    except EOFError:
        raise EnvironmentFault(
            "a helper process ended without a word; perhaps the machine ran out of memory",
            "Try again with --threads 1, which needs no second process.",
        ) from None
    if isinstance(message, BaseException):
        raise message
    return message


def _run(
    connection: Connection[Any, Any],
    target: Callable[..., None],
    arguments: tuple[Any, ...],
    threads: int,
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    prepare_process(threads)
    try:
        target(connection, *arguments)
    except (EOFError, BrokenPipeError):  # the parent is gone
        return
    except Exception as error:
        connection.send(error)
