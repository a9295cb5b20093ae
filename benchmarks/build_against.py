"""Compare `mixedparts build` with itself at an earlier commit: same tables, less time.

Both build one PACO-sized source of `mixedparts sample --annotations-only`, taking turns. The
earlier commit is checked out as a git worktree and runs with the same packages. Where the time goes
is measured in a second build by one process: reading finds the index of the file made.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

from benchmarks.process_tree import Measurement, measure
from benchmarks.report import machine
from benchmarks.step_speed import worktree

ROOT = Path(__file__).parents[1]
THEN, NOW = "then", "now"
PACO_IMAGES = 57_643  # of all splits
# All commits have this entry point.
_BUILD = "import sys; from mixedparts.cli import main; sys.exit(main())"
STAGES = {
    "read_shards": "index of the file",
    "run_read": "reading",
    "run_pair": "pairing",
    "run_write": "writing",
}
# Functions have moved between modules since, but kept their names.
_STAGES = """
import functools, json, sys, time
from mixedparts.cli import main
try:
    import mixedparts.pipeline.build, mixedparts.pipeline.destination
except ImportError:
    import mixedparts.build
seconds = dict.fromkeys(sys.argv[1].split(","), 0.0)
def timed(name, work):
    @functools.wraps(work)
    def run(*given, **options):
        began = time.process_time()
        try:
            return work(*given, **options)
        finally:
            seconds[name] += time.process_time() - began
    return run
for name in seconds:
    holders = [m for m in list(sys.modules.values()) if callable(getattr(m, name, None))]
    work = timed(name, getattr(holders[0], name))
    for holder in holders:
        setattr(holder, name, work)
try:
    main(sys.argv[2:])
except SystemExit as end:
    if end.code:
        raise
print(json.dumps(seconds))
"""


@dataclass(frozen=True, slots=True)
class Round:
    """What a build cost at one commit.

    Attributes:
        build: the whole command.
        stages: CPU seconds of each stage of another build, in one process.
    """

    build: Measurement
    stages: dict[str, float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is built at both commits.

    Attributes:
        commit: the earlier commit.
        work: folder of the sources, the worktree, the builds and the logs.
        images: image records of the source.
        samples: rows.
        workers: processes of a build.
    """

    commit: str
    work: Path
    images: int
    samples: int
    workers: int

    @property
    def root(self) -> Path:
        """The folder of the source."""
        return self.work / f"paco-{self.images}"

    def out(self, name: str) -> Path:
        """The folder that a commit builds."""
        return self.work / f"build-{name}"

    def trees(self) -> Mapping[str, Path]:
        """Check out the earlier commit; return the folders of the code of both."""
        return {THEN: worktree(self.commit, self.work / f"tree-{self.commit}"), NOW: ROOT}

    def prepare(self) -> None:
        """Write the source, unless it is there."""
        mark = self.root / "complete"
        if not mark.exists():
            words = ["sample", "--annotations-only", "--quiet", "--sources", "paco"]
            numbers = ["--fraction", str(self.images / PACO_IMAGES), "--workers", str(self.workers)]
            command = [sys.executable, "-c", _BUILD, *words, *numbers, "--out", str(self.root)]
            subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
            mark.touch()

    def run(self, name: str, tree: Path) -> Round:
        """Build once, and read once, at a commit.

        Raises:
            CommandFailed: the build failed.
        """
        shutil.rmtree(self.out(name), ignore_errors=True)
        environment = {
            "PYTHONPATH": str(tree),
            # Each commit finds what it has cached itself.
            "XDG_CACHE_HOME": str(self.work / f"cache-{name}"),
        }
        words = ["build", "--sources", "paco", "--root", str(self.root), "--quiet"]
        words += ["--images", "reference"]
        numbers = ["--workers", str(self.workers), "--samples", str(self.samples)]
        command = [sys.executable, "-c", _BUILD, *words, *numbers, "--out", str(self.out(name))]
        variables = [f"{key}={value}" for key, value in environment.items()]
        cost = measure(["env", "-C", str(tree), *variables, *command], self.work / f"{name}.log")
        scratch = self.work / "build-stages"
        shutil.rmtree(scratch, ignore_errors=True)
        one = ["--workers", "1", "--samples", str(self.samples), "--out", str(scratch)]
        done = subprocess.run(
            [sys.executable, "-c", _STAGES, ",".join(STAGES), *words, *one],
            check=True, cwd=tree, env={**os.environ, **environment}, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        return Round(cost, json.loads(done.stdout.splitlines()[-1]))


def compare(comparison: Comparison, rounds: int) -> dict[str, list[Round]]:
    """Build in turn at both commits and check that all tables have the same bytes.

    Raises:
        CommandFailed: a build failed.
        AssertionError: a table differs.
    """
    comparison.prepare()
    results: dict[str, list[Round]] = {THEN: [], NOW: []}
    for _ in range(rounds):
        for name, tree in comparison.trees().items():
            results[name].append(comparison.run(name, tree))
            build, stages = results[name][-1].build, results[name][-1].stages
            print(
                f"{name:4} {build.wall:6.1f} s, {build.cpu:6.1f} CPU s, {build.tree:5.0f} MB; "
                + ", ".join(f"{STAGES[key]} {value:.1f}" for key, value in stages.items()),
                file=sys.stderr,
            )
        then, now = (tables(comparison.out(name)) for name in (THEN, NOW))
        different = [name for name in then if now.get(name) != then[name]]
        assert then, "no table was written"
        assert not different, f"tables differ: {different}"
    return results


def tables(build: Path) -> dict[str, str]:
    """Return the SHA-256 of every Parquet file of a build by its path."""
    files = sorted(build.rglob("*.parquet"))
    return {
        file.relative_to(build).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }


def report(comparison: Comparison, results: Mapping[str, list[Round]]) -> str:
    """Return medians, ranges and ratios as Markdown."""
    rounds = len(results[NOW])
    lines = [
        f"## Building a dataset, against commit {comparison.commit}",
        "",
        f"`python -m benchmarks.build_speed --against {comparison.commit}`: PACO of `mixedparts"
        f" sample --annotations-only`, {comparison.images:,} image records, {comparison.samples:,}"
        f" rows, `--images reference`, {comparison.workers} workers. All Parquet files have the"
        f" same bytes. Medians of {rounds} rounds that take turns, ranges in brackets; ratios of"
        " the rounds, least to greatest.",
        "",
        f"{date.today().isoformat()}, {machine()}.",
        "",
        f"| | {comparison.commit} | now | times less |",
        "|---|---:|---:|---:|",
    ]
    rows: dict[str, Callable[[Round], float]] = {
        "wall time, s": lambda item: item.build.wall,
        "CPU time of all processes, s": lambda item: item.build.cpu,
        **{f"CPU time of {label}, s": partial(_stage, key) for key, label in STAGES.items()},
        "peak memory of all processes (PSS), MB": lambda item: item.build.tree,
    }
    for label, value in rows.items():
        then, now = ([value(item) for item in results[name]] for name in (THEN, NOW))
        ratios = [a / b for a, b in zip(then, now, strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        middle = statistics.median(ratios)
        lines.append(f"| {label} | {_cell(then)} | {_cell(now)} | {middle:.2f} ({spread}) |")
    return "\n".join(lines)


def _stage(key: str, item: Round) -> float:
    return item.stages[key]


def _cell(values: list[float]) -> str:
    return f"{statistics.median(values):,.1f} ({min(values):,.1f} to {max(values):,.1f})"
