"""Two writers of one place: one works, the other is told who does, or they work in turn.

The slow tier reads OVERLAPS (how many of each kind, 20) and OVERLAP_SEED (0) from the environment.
A failure prints both command lines' options and the delay; the same seed draws the same again.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.factories.commands import KINDS, Inputs, Kind, tree
from tests.factories.processes import alive, start_quietly, within

LONGEST = 300  # seconds; a command that takes longer hangs
BUSY = 3
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


class Writer(NamedTuple):
    """One of the two: which result it makes, and whether it may replace another."""

    result: int
    overwrite: bool


@dataclass(frozen=True)
class Folders:
    """Where each result was made without disturbance, and the place of the overlaps."""

    results: tuple[Path, Path]
    seconds: float
    work: Path


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_two_writers_never_damage_anything(inputs: Inputs, tmp_path: Path, name: str) -> None:
    count = int(os.environ.get("OVERLAPS", "20"))
    draw = random.Random(f"{name}-{os.environ.get('OVERLAP_SEED', '0')}")
    kind = KINDS[name]
    folders = _undisturbed(kind, inputs, tmp_path)
    seen: Counter[str] = Counter()
    looks = 0
    for number in range(count):
        # Every other place is empty: a writer that finds its result there may end before they meet.
        there = draw.choice((0, 1)) if number % 2 else None
        writers = [
            Writer(draw.choice((0, 0, 1)), kind.overwrites and draw.random() < 0.5)
            for _ in range(2)
        ]
        delay = draw.uniform(0, 0.7 * folders.seconds)
        overlap = _Overlap(kind, inputs, folders, there, writers, delay)
        seen[overlap.run()] += 1
        looks += overlap.looks
        shutil.rmtree(overlap.place)
        assert overlap.faults == [], (number, overlap)
    print(f"\n{name} ({folders.seconds:.1f} s undisturbed): {dict(seen)}, {looks} looks meanwhile")
    assert seen["one worked, one was told who"] >= count // 4


def _undisturbed(kind: Kind, inputs: Inputs, folder: Path) -> Folders:
    """Make both results, each in a place of its own."""
    results = (folder / "result-0", folder / "result-1")
    for result, place in enumerate(results):
        place.mkdir()
        began = time.monotonic()
        process = _start(kind, inputs, place, Writer(result, overwrite=False), folder / "stderr")
        assert process.wait(LONGEST) == 0, (folder / "stderr").read_text()
        seconds = time.monotonic() - began
    assert tree(results[0]) != tree(results[1])
    return Folders(results, seconds, folder)


def _start(
    kind: Kind, inputs: Inputs, place: Path, writer: Writer, messages: Path
) -> subprocess.Popen[bytes]:
    words = kind.words(inputs, place)
    if writer.result:
        words += kind.other(inputs)
    if writer.overwrite:
        words.append("--overwrite")
    return start_quietly(words, place.parent, messages, **ONE_THREAD)


class _Overlap:
    """Two writers of one place.

    Args:
        kind: of both.
        inputs: of both.
        folders: with what they make when alone.
        there: result that is in the place before, None without one.
        writers: in the order of their start.
        delay: seconds between their starts.
    """

    def __init__(
        self,
        kind: Kind,
        inputs: Inputs,
        folders: Folders,
        there: int | None,
        writers: list[Writer],
        delay: float,
    ) -> None:
        self.place = folders.work / "place"
        self.faults: list[object] = []
        self.looks = 0
        self._kind, self._inputs, self._folders = kind, inputs, folders
        self._there, self._writers, self._delay = there, writers, delay
        self._done = threading.Event()
        self._kept: list[object] = []

    def __repr__(self) -> str:
        return f"there: {self._there}, {self._writers}, {self._delay:.2f} s: {self.faults}"

    def run(self) -> str:
        """Run both and return what happened."""
        if self._there is None:
            self.place.mkdir()
        else:
            shutil.copytree(self._folders.results[self._there], self.place, symlinks=True)
        watch = threading.Thread(target=self._watch)
        if self._there is not None and self._kind.kept is not None:
            watch.start()
        files = [self.place.parent / f"stderr-{number}" for number in range(2)]
        first = self._begun(0, files[0])
        time.sleep(self._delay)
        second = self._begun(1, files[1])
        codes = [process.wait(LONGEST) for process in (first, second)]
        self._done.set()
        if watch.ident is not None:
            watch.join()
        messages = [file.read_text() for file in files]
        for process, text in zip((first, second), messages, strict=True):
            if not within(2, lambda process=process: alive(process.pid) == []):
                self.faults.append("a process is left")
            if "Traceback" in text:
                self.faults.append(text)
        return self._judged(codes, messages, (first.pid, second.pid))

    def _begun(self, number: int, messages: Path) -> subprocess.Popen[bytes]:
        return _start(self._kind, self._inputs, self.place, self._writers[number], messages)

    def _judged(self, codes: list[int], messages: list[str], pids: tuple[int, int]) -> str:
        """Compare codes and result with what is allowed; note faults; return what happened."""
        found = tree(self.place)
        told = [self._names_holder(text, pids[1 - n]) for n, text in enumerate(messages)]
        orders: list[tuple[str, list[int]]] = [("one after the other", [0, 1])]
        orders.append(("one after the other", [1, 0]))
        for busy in range(2):
            if codes[busy] == BUSY and told[busy]:
                orders.append(("one worked, one was told who", [1 - busy]))
        for name, order in orders:
            expected = {n: BUSY for n in range(2) if n not in order}
            state = self._there
            for number in order:
                expected[number], state = self._alone(state, self._writers[number])
            if [expected[0], expected[1]] == codes and found == self._tree(state):
                return name
        wanted = [tree(result) for result in self._folders.results]
        names = [sorted(found.items() ^ tree_of.items())[:8] for tree_of in wanted]
        self.faults.append((codes, told, messages, names))
        return "fault"

    def _alone(self, state: int | None, writer: Writer) -> tuple[int, int | None]:
        """Return exit code and result of a writer that is alone."""
        if state is None:
            return 0, writer.result
        code = self._kind.again if state == writer.result else self._kind.onto_other
        if writer.overwrite or code == 0:
            return 0, writer.result
        return code, state

    def _tree(self, state: int | None) -> dict[str, str]:
        return {} if state is None else tree(self._folders.results[state])

    def _names_holder(self, text: str, other: int) -> bool:
        """Return whether a message says that the other process writes here, and since when."""
        pattern = rf"another process is writing .*: .+ \(process {other} on"
        pattern += rf" {re.escape(socket.gethostname())}, since 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d"
        return re.search(pattern, text) is not None

    def _watch(self) -> None:
        """Look at what was there before, again and again: it is whole at any moment."""
        assert self._kind.kept is not None
        whole = [_content(result / self._kind.kept) for result in self._folders.results]
        path = self.place / self._kind.kept
        while not self._done.is_set():
            number = _number(path)
            content = _content(path)
            # Replaced meanwhile: what was read is of two folders.
            if number is not None and number != _number(path):
                continue
            self.looks += 1
            if content not in whole:
                self.faults.append(("damaged or missing", number, content))
                return
            time.sleep(0.03)


def _number(path: Path) -> int | None:
    """Return the number of a file or folder on its file system, None if it is missing."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _content(path: Path) -> dict[str, str] | bytes | None:
    """Return the tree of a folder or the bytes of a file, None if it is missing."""
    try:
        return tree(path) if path.is_dir() else path.read_bytes()
    except FileNotFoundError:
        return None
