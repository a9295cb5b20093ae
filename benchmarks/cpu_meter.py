"""The CPU seconds of a run's stages, kept over interruptions."""

from __future__ import annotations

import json
import time
from pathlib import Path

from mixedparts.progress import Progress
from mixedparts.storage.shards import write_text


class CpuMeter:
    """Adds up the CPU seconds of a run's stages, over interruptions, in a file.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spent: dict[str, float] = json.loads(path.read_text()) if path.is_file() else {}
        self._since = time.process_time()

    def add(self, stage: str) -> None:
        """Count what was spent since the last call for a stage."""
        now = time.process_time()
        self.spent[stage] = round(self.spent.get(stage, 0.0) + now - self._since, 3)
        self._since = now
        write_text(self.path, json.dumps(self.spent))


class Metered:
    """Progress that has the CPU time noted now and then, so that a kill loses little of it."""

    def __init__(self, inner: Progress, meter: CpuMeter, stage: str, every: int = 20) -> None:
        self._inner, self._meter, self._stage, self._every = inner, meter, stage, every
        self._count = 0

    def start(self, what: str, total: int, unit: str) -> None:
        self._inner.start(what, total, unit)

    def advance(self, amount: int = 1) -> None:
        self._count += amount
        if self._count >= self._every:
            self._count = 0
            self._meter.add(self._stage)
        self._inner.advance(amount)

    def finish(self) -> None:
        self._meter.add(self._stage)
        self._inner.finish()

    def log(self, message: str) -> None:
        self._inner.log(message)
