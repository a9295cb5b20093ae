"""Results of tasks in their order, computed ahead by worker processes or by this one.

The processes are those of torch's DataLoader: they hand tensors over in shared memory. A worker
ends with the process that started it. A bad input in a worker is the error that it would be here,
raised when its turn comes, so the number of workers changes nothing but the time.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar, cast

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from mixedparts.errors import EnvironmentFault, MixedPartsError
from mixedparts.pipeline.engines.follow_parent import follow_parent

Task = TypeVar("Task")
Result = TypeVar("Result")
_SHARED_MEMORY = "/dev/shm"
_END = object()
_LOST = "DataLoader worker"  # how torch's messages about a worker that ended begin


class _Tasks(Dataset[Result], Generic[Task, Result]):
    """Computes tasks; an expected failure is a result."""

    def __init__(self, compute: Callable[[Task], Result]) -> None:
        self.compute = compute

    def __getitem__(self, task: Task) -> Result | MixedPartsError:  # type: ignore[override]
        # Raised in a worker, it would come out with the text of its traceback as the message.
        try:
            return self.compute(task)
        except MixedPartsError as error:
            return error


def in_order(
    compute: Callable[[Task], Result],
    tasks: Iterable[Task],
    workers: int,
    ahead: int,
) -> Iterator[Result]:
    """Yield the results of tasks in their order.

    Args:
        compute: runs in the workers; what it returns is pickled, its tensors are shared.
        tasks: may be a generator, which is advanced as workers become free.
        workers: number of processes; 0 computes each task when its result is asked for.
        ahead: results that may be ready or in the making at a time, over all workers.

    Yields:
        The results.

    Raises:
        MixedPartsError: what `compute` raised for a task, at its turn.
        EnvironmentFault: a worker was killed.
    """
    if workers == 0:
        for task in tasks:
            yield compute(task)
        return
    each = outstanding(workers, ahead) // workers
    with lost_workers_reported():
        with _one_thread_of_opencv(), warnings.catch_warnings():
            # More workers than cores are slower, and nothing else.
            warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
            results = iter(_loader(compute, tasks, workers, each))
        try:
            while (result := _next(results)) is not _END:
                if isinstance(result, MixedPartsError):
                    raise result
                yield cast(Result, result)
        finally:
            # Ends the workers at once, also where the caller stops early or is interrupted.
            del results


def outstanding(workers: int, ahead: int) -> int:
    """Return how many results the workers hold or make at most when `ahead` are wanted."""
    return workers * max(1, ahead // max(1, workers))


def _next(results: Iterator[object]) -> object:
    """Return the next result, `_END` after the last one."""
    try:
        return next(results, _END)
    except (ConnectionError, EOFError, FileNotFoundError) as error:
        # Its result has come, but tensors in it are fetched from the worker, which is gone.
        raise _lost(str(error)) from error


def _loader(
    compute: Callable[[Task], Result],
    tasks: Iterable[Task],
    workers: int,
    each: int,
) -> DataLoader[Result | MixedPartsError]:
    """Return torch's loader for tasks; `each` is the number of results ahead of one worker."""
    return DataLoader(
        _Tasks(compute),
        batch_size=None,
        sampler=cast("Iterable[int]", tasks),
        num_workers=workers,
        prefetch_factor=each,
        collate_fn=_unchanged,
        worker_init_fn=_set_up_worker,
        # torch would draw the workers' seed from the random numbers of the model.
        generator=torch.Generator(),
        # The data is shared with the workers and not copied to each. Python 3.14 starts others.
        multiprocessing_context="fork" if sys.platform == "linux" else None,
    )


@contextlib.contextmanager
def lost_workers_reported() -> Iterator[None]:
    """Turn torch's error about a worker that ended into one clear message.

    torch raises it wherever this process happens to be, so a loop over the results needs this block
    around it as well.

    Raises:
        EnvironmentFault: a worker was killed, or had no shared memory left.
    """
    try:
        yield
    except RuntimeError as error:
        if _LOST not in str(error):
            raise
        raise _lost(str(error)) from error


def _lost(reason: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"a process that prepares images has ended: {reason.splitlines()[0]}",
        "If memory ran out, lower training.loader_workers or training.loader_images in"
        " --config. Run the same command again to continue.",
    )


def affordable(results: int, size: int, free: int | None = None) -> int:
    """Return how many results of a size half of the shared memory holds, at least one.

    Args:
        results: wanted.
        size: of one, in bytes.
        free: bytes of shared memory; None asks the system. Containers often have 64 MB.

    Returns:
        At most `results`.
    """
    if free is None:
        try:
            status = os.statvfs(_SHARED_MEMORY)
        except (OSError, AttributeError):  # a system without such a folder has no such limit
            return results
        free = status.f_bavail * status.f_frsize
    # Half of it: other processes of the run and of the machine share it.
    return max(1, min(results, free // 2 // max(1, size)))


def _unchanged(result: Result) -> Result:
    return result


@contextlib.contextmanager
def _one_thread_of_opencv() -> Iterator[None]:
    """Let processes that are started in the `with` block use one thread of OpenCV each."""
    # Here and not in the workers: a forked process has OpenCV's threads in name only, and waits for
    # ever when it is to end them, or to give them work.
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def _set_up_worker(_: int) -> None:
    """Prepare a worker process; torch has limited it to one thread already."""
    follow_parent()
    # Else the tokenizer of a forked process prints that it works in one thread.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
