"""The log of a run: JSON lines with mean losses and other events."""

from __future__ import annotations

import json
import time
from pathlib import Path

from mixedparts.files.opening import open_to_append


class RunLog:
    """Averages values between lines and appends them to a file.

    Args:
        path: JSON-lines file, which is appended to; None writes nothing.
        every: number of steps between lines.
    """

    def __init__(self, path: Path | None, every: int) -> None:
        self.path = path
        self.every = every
        self._sums: dict[str, float] = {}
        self._count = 0
        self._began = time.monotonic()
        if path is not None and path.is_file():
            _remove_partial_line(path)

    def add(
        self, stage: str, step: int, values: dict[str, float], last: bool = False
    ) -> dict[str, float] | None:
        """Add the values of a finished step, and write a line if one is due.

        Args:
            stage: name of the stage of the run.
            step: number of the step, counted from 1.
            values: losses and other numbers of the step, by name.
            last: whether this is the last step, which always writes a line.

        Returns:
            The means that were written, None if no line was due.
        """
        # Sums since the last line, so that the means of all lines together cover every step once.
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1
        if step % self.every == 0 or last:
            means = {name: total / self._count for name, total in self._sums.items()}
            seconds = round(time.monotonic() - self._began, 2)
            self.write({"stage": stage, "step": step, **means, "seconds": seconds})
            self._sums, self._count = {}, 0
            return means
        return None

    def write(self, line: dict[str, object]) -> None:
        """Append one JSON line."""
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open_to_append(self.path) as file:
                file.write(json.dumps(line) + "\n")


def _remove_partial_line(path: Path) -> None:
    """Remove an incomplete last line, which a killed process may leave."""
    # The next line would be appended to it, and neither could be read.
    text = path.read_bytes()
    complete = text[: text.rfind(b"\n") + 1]
    if len(complete) < len(text):
        path.write_bytes(complete)
