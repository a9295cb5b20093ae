"""Run a command and measure it whole: wall time, CPU time and memory of all its processes."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_INTERVAL = 0.05  # seconds between two looks at the memory


class CommandFailed(RuntimeError):
    """The measured command ended with another code than 0; the text is its last output."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one run cost.

    Attributes:
        wall, cpu: seconds; cpu is user and system time of all processes, as last seen of each.
        tree: peak MB of all processes together (PSS: shared pages count once), sampled.
        largest: peak MB of the largest single process (the kernel's high-water mark of its RSS).
        anonymous: peak MB of all processes together that belong to no file, sampled. The rest of
            `tree` is pages of mapped files, which the system can drop.
    """

    wall: float
    cpu: float
    tree: float
    largest: float
    anonymous: float = 0.0


def measure(command: Sequence[str], log: Path) -> Measurement:
    """Run a command in a session of its own (Linux), its output going to `log`.

    Raises:
        CommandFailed: it ended with another code than 0.
    """
    watch = _Watch()
    with log.open("wb") as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        watcher = threading.Thread(target=watch.run, args=(process.pid,), daemon=True)
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)  # Popen need not wait for it again
    watch.stop.set()
    watcher.join()
    if process.returncode:
        tail = log.read_text(errors="replace")[-2000:]
        raise CommandFailed(f"{' '.join(command)} ended with {process.returncode}:\n{tail}")
    # The kernel's account is exact but leaves out descendants that nobody waited for.
    cpu = max(usage.ru_utime + usage.ru_stime, sum(watch.cpu.values()))
    return Measurement(wall, cpu, watch.tree / 1e6, watch.largest / 1e6, watch.anonymous / 1e6)


class _Watch:
    """Looks at the processes of a session until told to stop.

    Attributes:
        cpu: seconds of each process id, its children excluded.
        tree, largest, anonymous: bytes, see `Measurement`.
    """

    def __init__(self) -> None:
        self.cpu: dict[str, float] = {}
        self.tree = 0
        self.largest = 0
        self.anonymous = 0
        self.stop = threading.Event()

    def run(self, session: int) -> None:
        while not self.stop.wait(_INTERVAL):
            total = anonymous = 0
            for pid, seconds in _members(session):
                self.cpu[pid] = seconds
                shared, own = _kilobytes(f"/proc/{pid}/smaps_rollup", "Pss:", "Pss_Anon:")
                total += shared * 1024
                anonymous += own * 1024
                (high,) = _kilobytes(f"/proc/{pid}/status", "VmHWM:")
                self.largest = max(self.largest, high * 1024)
            self.tree = max(self.tree, total)
            self.anonymous = max(self.anonymous, anonymous)


def _members(session: int) -> Iterator[tuple[str, float]]:
    """Yield id and CPU seconds of every process whose session is `session`."""
    tick = os.sysconf("SC_CLK_TCK")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            # The name in parentheses may hold spaces. After it: state, ppid, pgrp, session, …,
            # with user and system time as the 12th and 13th.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[3]) == session:
            yield pid, (int(fields[11]) + int(fields[12])) / tick


def _kilobytes(file: str, *keys: str) -> list[int]:
    """Return the number after each key, 0 where the process has ended or has no such line."""
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return [0] * len(keys)
    return [sum(int(line.split()[1]) for line in lines if line.startswith(key)) for key in keys]
