"""Commands that are killed leave no process and nothing half-made, and end as undisturbed ones.

The slow tier reads KILLS (how many, 112) and KILL_SEED (0) from the environment. A failure prints
what was killed, when and how; the same seed draws the same kills again.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.factories.commands import KINDS, Inputs, tree
from tests.factories.processes import alive, start_quietly, within

COMMANDS = ("build", "import", "export", "sample", "train", "eval", "predict")
SIGNALS = (signal.SIGTERM, signal.SIGKILL, signal.SIGINT)
LONGEST = 300  # seconds; a command that takes longer hangs
GONE = 2.0  # seconds until every process is gone
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


class Kill(NamedTuple):
    """Who gets which signal, and how many seconds after the start."""

    victim: str
    ending: signal.Signals
    moment: float


@dataclass
class Tally:
    """What was seen.

    Attributes:
        kills: by victim and signal.
        runs: to the end, compared with the undisturbed one.
        too_late: runs that had ended before their kill; not counted.
        in_start_of_python: interrupts before the first line of this project.
        slowest_exit: most seconds from the signal to the end of the main process.
        slowest_end: most seconds from there until every process was gone.
    """

    kills: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    too_late: int = 0
    in_start_of_python: int = 0
    slowest_end: float = 0.0
    slowest_exit: float = 0.0


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_kills_change_nothing(inputs: Inputs, tmp_path: Path, name: str) -> None:
    count = int(os.environ.get("KILLS", "112")) // len(COMMANDS)
    seed = int(os.environ.get("KILL_SEED", "0"))
    draw = random.Random(f"{name}-{seed}")
    hunt = _Hunt(inputs, tmp_path, name, draw)
    planned = _planned(draw, KINDS[name].workers, hunt.seconds)
    while hunt.tally.kills.total() < count:
        # A few kills in a row, then a run to the end.
        for _ in range(draw.choice((1, 1, 2, 3))):
            if hunt.tally.kills.total() < count:
                hunt.kill(next(planned))
        hunt.finish()
    print(f"\n{name} ({hunt.seconds:.1f} s undisturbed): {hunt.tally}")


def _planned(draw: random.Random, workers: bool, seconds: float) -> Iterator[Kill]:
    """Yield kills without end, every combination equally often."""
    victims = ("parent", "group", "child") if workers else ("parent", "group")
    combinations = list(product(victims, SIGNALS))
    while True:
        draw.shuffle(combinations)
        for victim, ending in combinations:
            yield Kill(victim, ending, draw.uniform(0, seconds))


class _Hunt:
    """Runs of one command in one place after the other, compared with an undisturbed run.

    Args:
        inputs: of the command.
        folder: for the places.
        name: of the command.
        draw: chooses among the processes of the command.
    """

    def __init__(self, inputs: Inputs, folder: Path, name: str, draw: random.Random) -> None:
        self.tally = Tally()
        self._draw = draw
        self._inputs = inputs
        self._kind = KINDS[name]
        self._folder = folder
        self._history: list[object] = []
        self._place = self._fresh("undisturbed")
        began = time.monotonic()
        assert self._start().wait(LONGEST) == 0, self._messages()
        self.seconds = time.monotonic() - began
        self._expected = tree(self._place)
        self._place = self._fresh("hunted")

    def kill(self, kill: Kill) -> None:
        """Start the command and kill it; a command that has ended by then is not counted."""
        self._history.append(kill)
        process = self._start()
        began = time.monotonic()
        sent = self._sent(process, kill, began)
        code = process.wait(LONGEST)
        ended = time.monotonic()
        assert within(GONE, lambda: alive(process.pid) == []), (self._history, alive(process.pid))
        gone = time.monotonic()
        before = _state(self._place)
        time.sleep(0.2)
        assert _state(self._place) == before, (self._history, "written after the end")
        self._check_messages(kill, sent, code)
        if sent is None:
            self.tally.too_late += 1
            self._history[-1] = f"ended before {kill}"
            return
        self.tally.kills[f"{kill.victim} {kill.ending.name}"] += 1
        self.tally.slowest_exit = round(max(self.tally.slowest_exit, ended - sent), 2)
        self.tally.slowest_end = round(max(self.tally.slowest_end, gone - ended), 2)

    def finish(self) -> None:
        """Run the command to its end and compare; then take a new place."""
        process = self._start()
        assert process.wait(LONGEST) == 0, (self._history, self._messages())
        assert "Traceback" not in self._messages(), (self._history, self._messages())
        assert within(GONE, lambda: alive(process.pid) == [])
        found = tree(self._place)
        names = sorted(found.keys() ^ self._expected.keys())
        assert not names, (self._history, names)
        different = [name for name in found if found[name] != self._expected[name]]
        assert not different, (self._history, different)
        self.tally.runs += 1
        self._history = []
        shutil.rmtree(self._place)
        self._place = self._fresh("hunted")

    def _fresh(self, name: str) -> Path:
        place = self._folder / name
        place.mkdir()
        return place

    def _start(self) -> subprocess.Popen[bytes]:
        words = self._kind.words(self._inputs, self._place)
        return start_quietly(words, self._folder, self._folder / "stderr", **ONE_THREAD)

    def _messages(self) -> str:
        return (self._folder / "stderr").read_text()

    def _sent(self, process: subprocess.Popen[bytes], kill: Kill, began: float) -> float | None:
        """Send the signal at its moment; return when, None if the process has ended before."""
        within(began + kill.moment - time.monotonic(), lambda: process.poll() is not None)
        while process.poll() is None and time.monotonic() < began + LONGEST:
            children = [child for child in sorted(alive(process.pid)) if child != process.pid]
            # Python's own helper writes nothing; another one takes over, with a traceback of its
            # own about names that it has not seen.
            children = [
                child for child in children if "resource_tracker" not in _command_line(child)
            ]
            if kill.victim == "child" and not children:
                time.sleep(0.002)
                continue
            try:
                if kill.victim == "group":
                    os.killpg(process.pid, kill.ending)
                else:
                    victim = self._draw.choice(children) if kill.victim == "child" else process.pid
                    self._history[-1] = (kill, _command_line(victim))
                    os.kill(victim, kill.ending)
            except ProcessLookupError:
                continue
            return time.monotonic()
        return None

    def _check_messages(self, kill: Kill, sent: float | None, code: int) -> None:
        messages = self._messages()
        told = (self._history, code, messages)
        if sent is None:
            assert code == 0, told
        elif kill.victim == "child":
            assert code in (0, 3), told
        elif kill.ending == signal.SIGINT and _python_was_starting(messages, code):
            self.tally.in_start_of_python += 1
            return
        else:
            # 0: it was about to end.
            allowed = {0, -kill.ending} | ({130} if kill.ending == signal.SIGINT else set())
            assert code in allowed, told
        assert "Traceback" not in messages, told


def _python_was_starting(messages: str, code: int) -> bool:
    """Return whether Python itself was interrupted, before it ran a line of this project."""
    return code in (1, -signal.SIGINT, 130) and bool(
        re.search(r"KeyboardInterrupt|import site", messages)
        and "in start_command" not in messages
        and "in run_command" not in messages
    )


def _command_line(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()[:200]
    except OSError:
        return "gone"


def _state(place: Path) -> dict[str, tuple[int, int]]:
    """Return time and size of every entry below a folder."""
    entries = {}
    for path in place.rglob("*"):
        status = path.lstat()
        entries[path.relative_to(place).as_posix()] = (status.st_mtime_ns, status.st_size)
    return entries
