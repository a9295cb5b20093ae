"""How far long work has come: a bar on a terminal, lines now and then elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from typing import Protocol

from tqdm import tqdm


class Progress(Protocol):
    """Told by a stage what it does, how much there is, and what is done."""

    def start(self, what: str, total: int, unit: str) -> None:
        """Begin a stage of `total` units."""

    def advance(self, amount: int = 1) -> None:
        """Count finished units."""

    def finish(self) -> None:
        """End the stage."""

    def log(self, message: str) -> None:
        """Tell a person one thing."""


class Silent:
    """Says nothing."""

    def start(self, what: str, total: int, unit: str) -> None: ...

    def advance(self, amount: int = 1) -> None: ...

    def finish(self) -> None: ...

    def log(self, message: str) -> None: ...


class Lines:
    """Writes a line to stderr at most every `every` seconds, and one at the end of a stage."""

    def __init__(self, every: float = 10.0) -> None:
        self._every = every

    def start(self, what: str, total: int, unit: str) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._done = 0
        self._began = self._told = time.monotonic()

    def advance(self, amount: int = 1) -> None:
        self._done += amount
        if time.monotonic() - self._told >= self._every:
            self._told = time.monotonic()
            self.log(f"{self._what}: {self._done} of {self._total} {self._unit}")

    def finish(self) -> None:
        seconds = time.monotonic() - self._began
        self.log(f"{self._what}: {self._done} of {self._total} {self._unit} in {seconds:.1f} s")

    def log(self, message: str) -> None:
        print(message, file=sys.stderr, flush=True)


class Bar:
    """Draws a bar on the terminal."""

    def start(self, what: str, total: int, unit: str) -> None:
        self._bar = tqdm(total=total, desc=what, unit=f" {unit}", file=sys.stderr)

    def advance(self, amount: int = 1) -> None:
        self._bar.update(amount)

    def finish(self) -> None:
        self._bar.close()

    def log(self, message: str) -> None:
        tqdm.write(message, file=sys.stderr)


def terminal_progress(quiet: bool = False) -> Progress:
    """Return the progress that suits standard error."""
    if quiet:
        return Silent()
    return Bar() if sys.stderr.isatty() else Lines()
