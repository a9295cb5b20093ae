"""What a run says: one JSON line now and then, for programs and for people."""

from __future__ import annotations

import json
import time
from pathlib import Path


class RunLog:
    """Averages values between lines and appends them to a file.

    Args:
        path: JSON-lines file, appended to; None writes nowhere.
        every: steps between lines.
    """

    def __init__(self, path: Path | None, every: int) -> None:
        self.path = path
        self.every = every
        self._sums: dict[str, float] = {}
        self._count = 0
        self._began = time.monotonic()

    def add(self, stage: str, step: int, values: dict[str, float], last: bool = False) -> None:
        """Note the values of a finished step, counted from 1."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1
        if step % self.every == 0 or last:
            means = {name: round(total / self._count, 5) for name, total in self._sums.items()}
            seconds = round(time.monotonic() - self._began, 2)
            self.write({"stage": stage, "step": step, **means, "seconds": seconds})
            self._sums, self._count = {}, 0

    def write(self, line: dict[str, object]) -> None:
        """Append one line."""
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
