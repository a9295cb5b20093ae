"""What a task of a stage comes to on an engine: its commit record or its error, and who ran it."""

from __future__ import annotations

import os
import pickle
import socket
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from mixedparts.errors import MixedPartsError
from mixedparts.storage.shards import Commit


class Task(Protocol):
    """A task of a stage."""

    @property
    def name(self) -> str:
        """Name of the task, unique in its build."""
        ...


T = TypeVar("T", bound=Task)


class WorkerTraceback(Exception):
    """The traceback of an error in the process that raised it, as the cause of its copy."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of one task.

    Attributes:
        task: name of the task.
        host: name of the machine that ran it.
        process: process id there.
        record: its commit record; None if it failed.
        error: what it raised; None if it did not.
        trace: the traceback of an error that no user can expect; else empty.
    """

    task: str
    host: str
    process: int
    record: Commit | None = None
    error: Exception | None = None
    trace: str = ""

    def fault(self) -> Exception:
        """Return the error of a task that failed, with what is known of where it was raised."""
        error = self.error or RuntimeError(f"the task {self.task} ended without a result")
        if self.trace and self.process != os.getpid():
            error.__cause__ = WorkerTraceback(self.trace)
        return error


@dataclass(frozen=True, slots=True)
class Attempt(Generic[T]):
    """Runs a task and returns its outcome; errors become values that every engine can carry.

    Attributes:
        work: the function of a module that runs a task.
    """

    work: Callable[[T], Commit]

    def __call__(self, task: T) -> Outcome:
        """Run a task."""
        where: dict[str, Any] = {"host": socket.gethostname(), "process": os.getpid()}
        try:
            return Outcome(task.name, record=self.work(task), **where)
        except Exception as error:
            expected = isinstance(error, MixedPartsError)
            trace = "" if expected else "\n" + traceback.format_exc()
            return Outcome(task.name, error=_portable(error), trace=trace, **where)


def _portable(error: Exception) -> Exception:
    """Return an error that another process can load: itself, or one with the same text."""
    # Exceptions of libraries can hold open files, or need other arguments than the ones they keep.
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
