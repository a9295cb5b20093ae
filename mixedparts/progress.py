"""Progress of long work: a bar on a terminal, a line every few seconds elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from typing import Protocol

from tqdm import tqdm


class Progress(Protocol):
    """Receives what a stage does, how many units it has, and how many are finished."""

    def start(self, what: str, total: int, unit: str) -> None:
        """Start a stage.

        Args:
            what: name of the stage, for people.
            total: number of units in the stage.
            unit: name of the unit in the plural, such as `images`.
        """

    def advance(self, amount: int = 1) -> None:
        """Count finished units."""

    def finish(self) -> None:
        """End the stage."""

    def log(self, message: str) -> None:
        """Print one message."""


class Silent:
    """Prints nothing."""

    def start(self, what: str, total: int, unit: str) -> None:
        """Ignore the start of a stage.

        Args:
            what: unused.
            total: unused.
            unit: unused.
        """

    def advance(self, amount: int = 1) -> None:
        """Ignore finished units."""

    def finish(self) -> None:
        """Ignore the end of the stage."""

    def log(self, message: str) -> None:
        """Ignore a message."""


class Lines:
    """Writes lines to stderr while a stage runs, and one at its end.

    Args:
        every: least time between two lines, in seconds.
    """

    def __init__(self, every: float = 10.0) -> None:
        self._every = every

    def start(self, what: str, total: int, unit: str) -> None:
        """Start a stage.

        Args:
            what: name of the stage, for people.
            total: number of units in the stage.
            unit: name of the unit in the plural, such as `images`.
        """
        self._what, self._total, self._unit = what, total, unit
        self._done = 0
        self._started = self._last_line = time.monotonic()

    def advance(self, amount: int = 1) -> None:
        """Count finished units; print a line if the last one is old enough."""
        self._done += amount
        if time.monotonic() - self._last_line >= self._every:
            self._last_line = time.monotonic()
            self.log(f"{self._what}: {self._done} of {self._total} {self._unit}")

    def finish(self) -> None:
        """End the stage with a line that has its duration."""
        seconds = time.monotonic() - self._started
        self.log(f"{self._what}: {self._done} of {self._total} {self._unit} in {seconds:.1f} s")

    def log(self, message: str) -> None:
        """Print one message on its own line."""
        # Without the flush, a log file of a long run shows nothing until the buffer is full.
        print(message, file=sys.stderr, flush=True)


class Bar:
    """Draws a bar on the terminal."""

    def start(self, what: str, total: int, unit: str) -> None:
        """Start a stage with an empty bar.

        Args:
            what: name of the stage, shown before the bar.
            total: number of units in the stage.
            unit: name of the unit in the plural, such as `images`.
        """
        self._bar = tqdm(total=total, desc=what, unit=f" {unit}", file=sys.stderr)

    def advance(self, amount: int = 1) -> None:
        """Fill the bar by finished units."""
        self._bar.update(amount)

    def finish(self) -> None:
        """Close the bar; it stays on the terminal."""
        self._bar.close()

    def log(self, message: str) -> None:
        """Print one message above the bar."""
        # A plain print would land in the middle of the bar.
        tqdm.write(message, file=sys.stderr)


def terminal_progress(quiet: bool = False) -> Progress:
    """Return a bar if stderr is a terminal, else lines; nothing if `quiet`."""
    if quiet:
        return Silent()
    return Bar() if sys.stderr.isatty() else Lines()
