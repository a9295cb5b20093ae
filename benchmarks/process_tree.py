"""Run a command and measure it whole: wall time, CPU time and memory of all its processes."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_INTERVAL = 0.05  # seconds between two looks at the memory


class CommandFailed(RuntimeError):
    """The measured command ended with another code than 0; the text is its last output."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one run cost.

    Attributes:
        wall, cpu: seconds; cpu is user and system time of all processes.
        tree: peak MB of all processes together (PSS: shared pages count once), sampled.
        largest: peak MB of the largest single process, as the kernel reports it.
    """

    wall: float
    cpu: float
    tree: float
    largest: float


def measure(command: Sequence[str], log: Path) -> Measurement:
    """Run a command in a session of its own (Linux), its output going to `log`.

    Raises:
        CommandFailed: it ended with another code than 0.
    """
    peak = _Peak()
    with log.open("wb") as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        watcher = threading.Thread(target=peak.watch, args=(process.pid,), daemon=True)
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)  # Popen need not wait for it again
    peak.stop.set()
    watcher.join()
    if process.returncode:
        tail = log.read_text(errors="replace")[-2000:]
        raise CommandFailed(f"{' '.join(command)} ended with {process.returncode}:\n{tail}")
    return Measurement(
        wall=wall,
        cpu=usage.ru_utime + usage.ru_stime,
        tree=peak.bytes / 1e6,
        largest=usage.ru_maxrss * 1024 / 1e6,
    )


class _Peak:
    """The largest sum of memory seen over the processes of a session."""

    def __init__(self) -> None:
        self.bytes = 0
        self.stop = threading.Event()

    def watch(self, session: int) -> None:
        while not self.stop.wait(_INTERVAL):
            total = sum(_proportional_bytes(pid) for pid in _members(session))
            self.bytes = max(self.bytes, total)


def _members(session: int) -> list[str]:
    """Return the process ids whose session is `session`."""
    members = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            # The name in parentheses may hold spaces; the session is the 4th field after it.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[3]) == session:
            members.append(pid)
    return members


def _proportional_bytes(pid: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
