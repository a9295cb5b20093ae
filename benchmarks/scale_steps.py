"""The builds of the full-scale benchmark: what each one builds, and what it cost."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.process_tree import Measurement, measure

ALL = ("paco", "partimagenet", "ade20k")
_DONE = "complete"


@dataclass(frozen=True, slots=True)
class Step:
    """One build.

    Attributes:
        sources: names of the sources.
        samples: rows to build at full size.
        images: times the real numbers of images.
        what: for the table.
    """

    sources: tuple[str, ...]
    samples: int
    images: int
    what: str


STEPS: Mapping[str, Step] = {
    "one": Step(("paco",), 800_000, 1, "PACO alone"),
    "twice": Step(("paco",), 1_600_000, 1, "PACO, twice the samples"),
    "three": Step(ALL, 2_400_000, 1, "three sources"),
    "tenfold": Step(("paco",), 800_000, 10, "PACO, ten times the images"),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one step cost.

    Attributes:
        step: its name.
        scale: what all numbers of images and samples were multiplied by.
        workers: processes of the build.
        rows: of `pairs`, the benchmark included.
        images: image records of the sources.
        wall, cpu, tree, largest, anonymous: see `Measurement`.
        stages: wall seconds from one stage's end to the next, to the second.
        commit: of the code, with `+` where files differ from it.
        day: UTC.
    """

    step: str
    scale: float
    workers: int
    rows: int
    images: int
    wall: float
    cpu: float
    tree: float
    largest: float
    anonymous: float
    stages: dict[str, float]
    commit: str
    day: str


@dataclass(frozen=True, slots=True)
class Workplace:
    """The folder that sources, builds and outcomes are kept in.

    Attributes:
        path: the folder.
        scale: multiplies all numbers of images and samples.
        workers: processes of a build.
    """

    path: Path
    scale: float
    workers: int

    def root(self, step: Step) -> Path:
        """Return the folder of a step's sources; steps of as many images share it."""
        return self.path / f"sources-{step.images * self.scale:g}x"

    def out(self, name: str) -> Path:
        """Return the folder that a step builds."""
        return self.path / f"build-{name}-{self.scale:g}"

    def load(self, name: str) -> Outcome | None:
        """Return the outcome of a step; None if it has not run at this scale."""
        path = self._outcome(name)
        if not path.is_file():
            return None
        found = Outcome(**json.loads(path.read_bytes()))
        same = (found.scale, found.workers) == (self.scale, self.workers)
        return found if same else None

    def _outcome(self, name: str) -> Path:
        return self.path / f"{name}-{self.scale:g}.json"

    def prepare(self, step: Step) -> None:
        """Write the sources of a step, unless they are there."""
        root = self.root(step)
        # A marker for each source, because steps of the same images need different ones.
        wanted = [name for name in step.sources if not (root / f"{_DONE}-{name}").exists()]
        if not wanted:
            return
        command = [_script(), "sample", "--annotations-only", "--quiet", "--out", str(root)]
        numbers = ["--fraction", str(step.images * self.scale), "--workers", str(self.workers)]
        subprocess.run(
            [*command, "--sources", *wanted, *numbers], check=True, stdout=subprocess.DEVNULL
        )
        for name in wanted:
            (root / f"{_DONE}-{name}").touch()

    def run(self, name: str, keep: bool) -> Outcome:
        """Prepare and build a step into an empty folder; note and return what the build cost.

        Args:
            name: of the step.
            keep: leave the build on disk.

        Returns:
            The outcome.

        Raises:
            CommandFailed: the build failed.
        """
        step, out = STEPS[name], self.out(name)
        self.prepare(step)
        shutil.rmtree(out, ignore_errors=True)
        command = [_script(), "build", "--sources", *step.sources, "--root", str(self.root(step))]
        numbers = ["--samples", str(self.samples(step)), "--workers", str(self.workers)]
        options = ["--images", "reference", "--out", str(out), "--quiet"]
        cost = measure([*command, *numbers, *options], self.path / f"{name}.log")
        outcome = self._described(name, cost)
        self._outcome(name).write_text(json.dumps(asdict(outcome), indent=1))
        if not keep:
            shutil.rmtree(out)
        return outcome

    def samples(self, step: Step) -> int:
        """Return the rows of a step at this scale."""
        return max(1, round(step.samples * self.scale))

    def _described(self, name: str, cost: Measurement) -> Outcome:
        out = self.out(name)
        manifest = json.loads((out / "manifest.json").read_bytes())
        rows = sum(s["rows"] for s in manifest["shards"] if s["path"].startswith("pairs/"))
        commits = (out / "_build" / "commits").glob("read-*.json")
        images = sum(json.loads(path.read_bytes())["counts"].get("images", 0) for path in commits)
        day = datetime.now(UTC).date().isoformat()
        return Outcome(
            name, self.scale, self.workers, rows, images, **asdict(cost),
            stages=stage_seconds(out / "_build" / "log.jsonl"), commit=_commit(), day=day,
        )  # fmt: skip


def stage_seconds(log: Path) -> dict[str, float]:
    """Return the wall seconds of the stages of a build, from its log."""
    events: list[dict[str, Any]] = [json.loads(line) for line in log.read_text().splitlines()]
    seconds: dict[str, float] = {}
    before = None
    for event in events:
        now = datetime.fromisoformat(event["time"])
        if before is not None:
            name = str(event["event"])
            seconds[name] = seconds.get(name, 0.0) + (now - before).total_seconds()
        before = now
    return {name: value for name, value in seconds.items() if value}


def _script() -> str:
    return str(Path(sys.executable).with_name("mixedparts"))


def _commit() -> str:
    """Return the commit of the code, with `+` if files differ from it; empty outside of git."""
    here = Path(__file__).parent
    run = ["git", "-C", str(here)]
    head = subprocess.run([*run, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    changed = subprocess.run(
        [*run, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True
    )
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")
