"""Waiting for processes that work alone for hours: as long as they live, and no longer.

The first process of a run writes checkpoints and computes stores of features, and stages of
pretraining belong to one process each, while the others wait. In a barrier of torch they would
need a time limit of days, and would wait that long for a process that died. Here every process
counts up a number of its own in the store by which the processes found each other, and those that
wait give up when the number of another one stops changing.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from accelerate import Accelerator
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]  # public

from mixedparts.errors import EnvironmentFault

BEAT = 2.0  # seconds between two counts of a process
PATIENCE = 300.0  # seconds without a count after which a process is given up


class _Company:
    """The processes of a run, as one of them sees them.

    Args:
        rank: of this process.
        count: number of processes.
    """

    def __init__(self, rank: int, count: int) -> None:
        self.rank = rank
        self.others = [other for other in range(count) if other != rank]
        self.meetings = 0
        # A client has one connection and serves one thread at a time: the counting thread must not
        # wait for the other one.
        self.store = _store()
        self._counts = _store()
        self._ended = threading.Event()
        threading.Thread(target=self._count_up, daemon=True).start()

    def meet(self) -> None:
        """Wait until all processes are here.

        Raises:
            EnvironmentFault: one of them is not heard of any more.
        """
        self.meetings += 1
        self.store.set(f"{self.meetings}, {self.rank}", "here")
        everyone = [f"{self.meetings}, {other}" for other in self.others]
        heard = dict.fromkeys(self.others, (-1, 0.0))
        pause = 0.01
        while not self.store.check(everyone):
            time.sleep(pause)
            pause = min(BEAT, 1.5 * pause)
            self._listen(heard)

    def _listen(self, heard: dict[int, tuple[int, float]]) -> None:
        """Note the count of each other process, and when it last was another one."""
        for other, (number, since) in heard.items():
            count = self.store.add(f"count {other}", 0)
            if count != number:
                heard[other] = (count, time.monotonic())
            elif time.monotonic() - since > PATIENCE:
                raise EnvironmentFault(
                    f"process {other} has not reported for {PATIENCE:.0f} seconds: it was"
                    " ended, or its machine is gone",
                    "Look at its output, then continue with --resume auto.",
                )

    def leave(self) -> None:
        """Stop counting: no other process waits for this one any more."""
        self._ended.set()

    def _count_up(self) -> None:
        # The store ends with the process that has it, and then no process is left to inform.
        with suppress(RuntimeError):
            while not self._ended.wait(BEAT):
                self._counts.add(f"count {self.rank}", 1)


_joined: list[_Company] = []  # of this process: one, or none where it is alone


def join(accelerator: Accelerator) -> None:
    """Start counting, so that other processes can wait for this one; every process calls it."""
    if accelerator.num_processes > 1 and not _joined:
        _joined.append(_Company(accelerator.process_index, accelerator.num_processes))


def leave() -> None:
    """Stop counting, at the end of a run."""
    while _joined:
        _joined.pop().leave()


def wait_for_everyone(accelerator: Accelerator) -> None:
    """Wait until every process has called this function, however long one of them works.

    Raises:
        EnvironmentFault: a process has ended, or its machine is gone.
    """
    join(accelerator)
    for company in _joined:
        try:
            company.meet()
        except RuntimeError as error:
            raise EnvironmentFault(
                "the process that the others report to is gone",
                "Look at its output, then continue with --resume auto.",
            ) from error
    # The store may end with the first process: none continues while another one still asks it.
    accelerator.wait_for_everyone()


@contextmanager
def first_process_first(accelerator: Accelerator) -> Iterator[None]:
    """Run the `with` block in the first process, then in the others; every process enters it.

    Yields:
        None.

    Raises:
        EnvironmentFault: a process has ended, or its machine is gone.
    """
    if not accelerator.is_main_process:
        wait_for_everyone(accelerator)
    yield
    if accelerator.is_main_process:
        wait_for_everyone(accelerator)


def _store() -> PrefixStore:
    """Return a connection to the store that torchrun or the first process has."""
    # accelerate and torchrun set both variables. A run that torchrun starts again finds the store
    # of the attempt before: the names of its entries must be other ones.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    client = TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=False,
        timeout=timedelta(seconds=60),
    )
    return PrefixStore(f"calico {attempt}", client)
