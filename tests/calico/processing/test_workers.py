"""Results of worker processes come in order, errors at their turn, and nobody is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from calico.processing.workers import affordable, in_order
from mixedparts.errors import EnvironmentFault, InputError
from tests.checkout import ROOT


def slow_first(task: int) -> tuple[int, torch.Tensor]:
    time.sleep(0.2 if task == 0 else 0)
    return os.getpid(), torch.full((3,), task)


def fails_at_two(task: int) -> int:
    if task == 2:
        raise InputError("the image x.jpg cannot be decoded: cut", "Remove it.")
    return task


@pytest.mark.parametrize("workers", [0, 2])
def test_results_are_in_the_order_of_the_tasks(workers: int) -> None:
    state = torch.get_rng_state()
    found = list(in_order(slow_first, iter(range(7)), workers, 4))
    assert [int(values[0]) for _, values in found] == list(range(7))
    processes = {process for process, _ in found}
    assert len(processes) == max(1, workers)
    assert (os.getpid() in processes) == (workers == 0)
    assert torch.equal(torch.get_rng_state(), state), "random numbers of the model were drawn"


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_comes_at_its_turn_unchanged(workers: int) -> None:
    results = in_order(fails_at_two, range(5), workers, 4)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(InputError) as raised:
        next(results)
    assert raised.value.message == "the image x.jpg cannot be decoded: cut"
    assert raised.value.hint == "Remove it."


def enlarged(task: int) -> int:
    # Large enough for OpenCV to divide it between threads.
    return int(cv2.resize(np.full((900, 900), task, np.uint8), (2000, 2000)).max())


def test_workers_resize_after_this_process_has_done_so_in_threads() -> None:
    """A fork of a process whose OpenCV has threads waits for them for ever."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(4)
    try:
        assert [enlarged(number) for number in range(3)] == [0, 1, 2]
        assert list(in_order(enlarged, range(3), 2, 2)) == [0, 1, 2]
        assert cv2.getNumThreads() == 4
    finally:
        cv2.setNumThreads(before)


def test_no_more_tasks_are_taken_than_may_be_held() -> None:
    taken = []

    def tasks():
        for number in range(100):
            taken.append(number)
            yield number

    results = in_order(fails_at_two, tasks(), 2, 6)
    next(results)
    assert len(taken) == 7
    results.close()


def test_a_killed_worker_is_one_message() -> None:
    results = in_order(slow_first, range(1000), 1, 1)
    process, _ = next(results)
    os.kill(process, signal.SIGKILL)
    with pytest.raises(EnvironmentFault, match="a process that prepares images has ended"):
        list(results)


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """SIGKILL leaves the parent no time to end them."""
    program = (
        "import os, sys, time\n"
        "from calico.processing.workers import in_order\n"
        "def task(number):\n"
        f"    open({str(tmp_path)!r} + f'/{{os.getpid()}}', 'w').close()\n"
        "    time.sleep(0.01)\n"
        "for _ in in_order(task, range(10**6), 2, 8):\n"
        "    print('.', flush=True)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    for _ in range(8):
        process.stdout.readline()
    process.kill()
    process.communicate()
    workers = [int(path.name) for path in tmp_path.iterdir()]
    assert len(workers) == 2
    deadline = time.monotonic() + 10
    while any(running(worker) for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [worker for worker in workers if running(worker)]


def running(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return status[0] != "Z"


def test_what_is_held_fits_the_shared_memory() -> None:
    assert affordable(128, 3_000_000, free=64 << 20) == 11
    assert affordable(128, 3_000_000, free=1 << 40) == 128
    assert affordable(128, 3_000_000, free=0) == 1
