"""What the build benchmark compares, and what it found."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.process_tree import Measurement


@dataclass(frozen=True, slots=True)
class Setting:
    """What is built, the same for both builders.

    Attributes:
        work: folder of the shaped sources, the outputs and the logs.
        pictures: `embed` or `reference`, as `mixedparts build --images`.
    """

    work: Path
    images: int
    samples: int
    workers: int
    pictures: str

    @property
    def root(self) -> Path:
        """The sources of this number of images."""
        return self.work / f"sources-{self.images}"

    def out(self, builder: str) -> Path:
        """The folder that a builder writes."""
        return self.work / builder

    def pairs(self, builder: str) -> list[Path]:
        """The files of pairs that a builder wrote."""
        return sorted(self.out(builder).glob("pairs*/train-*.parquet"))

    def command(self, builder: str, rows: int) -> list[str]:
        """Return the command of `naive` or `ours` for that many rows."""
        same = ["--root", str(self.root), "--out", str(self.out(builder)), "--samples", str(rows)]
        same += ["--images", self.pictures]
        if builder == "naive":
            return [sys.executable, "-m", "benchmarks.naive_builder", *same]
        script = str(Path(sys.executable).with_name("mixedparts"))
        return [script, "build", "--sources", "paco", "--workers", str(self.workers), *same]


@dataclass(frozen=True, slots=True)
class Result:
    """All measurements: per builder the repeated runs, and one run with fewer rows."""

    setting: Setting
    runs: dict[str, list[Measurement]]
    fewer_rows: int
    fewer: dict[str, Measurement]
