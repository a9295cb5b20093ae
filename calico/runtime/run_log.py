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
        if path is not None and path.is_file():
            _close_last_line(path)

    def add(
        self, stage: str, step: int, values: dict[str, float], last: bool = False
    ) -> dict[str, float] | None:
        """Note the values of a finished step, counted from 1; return means that were written."""
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
        """Append one line."""
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def _close_last_line(path: Path) -> None:
    """Cut off what a killed process left of a line."""
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if len(whole) < len(text):
        path.write_bytes(whole)
