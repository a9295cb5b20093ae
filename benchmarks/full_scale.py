"""Build at the numbers of the real datasets, and compare the costs with the bars.

Four builds with `--images reference`: PACO alone with 800,000 samples, twice the samples, three
sources with 2.4 million samples, and ten times the images. Sources come from `mixedparts sample
--annotations-only`. Everything is kept in --work: a second call goes on where the first ended, and
`--again` runs steps anew. Linux only (reads /proc). At full size it needs about 12 GB of disk and,
on two quiet cores, about half an hour.

Examples:
    python -m benchmarks.full_scale --work /data/scale
    python -m benchmarks.full_scale --work /data/scale --only one three
    python -m benchmarks.full_scale --work /tmp/quick --scale 0.01      a quick look
    python -m benchmarks.full_scale --work /data/scale --write docs/scale.md
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.process_tree import CommandFailed
from benchmarks.report import machine, write_section
from benchmarks.scale_steps import STEPS, Outcome, Workplace

KEPT = "three"  # the build that `benchmarks.reading_scale` reads


class Bar(NamedTuple):
    """What a figure may be at most.

    Attributes:
        what: for the table.
        step: the step whose figure it is.
        base: the step that it is divided by, or empty.
        figure: attribute of `Outcome`.
        most: of the figure or ratio.
    """

    what: str
    step: str
    base: str
    figure: str
    most: float


BARS = (
    Bar("three sources, time of PACO alone", "three", "one", "wall", 3.2),
    Bar("three sources, memory in MB", "three", "", "tree", 2000),
    Bar("twice the samples, time", "twice", "one", "wall", 2.1),
    Bar("ten times the images, time", "tenfold", "one", "wall", 10.5),
    Bar("ten times the images, memory", "tenfold", "one", "tree", 2.0),
)


def value_of(bar: Bar, outcomes: Mapping[str, Outcome]) -> float | None:
    """Return the figure or ratio of a bar; None if a step of it has not run."""
    if bar.step not in outcomes or (bar.base and bar.base not in outcomes):
        return None
    value = float(getattr(outcomes[bar.step], bar.figure))
    return value / float(getattr(outcomes[bar.base], bar.figure)) if bar.base else value


def report(outcomes: Mapping[str, Outcome], scale: float) -> str:
    """Return the figures of all steps and the bars as Markdown."""
    size = "full size" if scale == 1 else f"{scale:g} of full size"
    days = sorted({outcome.day for outcome in outcomes.values()})
    commits = sorted({outcome.commit for outcome in outcomes.values()})
    workers = sorted({outcome.workers for outcome in outcomes.values()})
    lines = [
        f"`python -m benchmarks.full_scale` at {size}, {' and '.join(map(str, workers))} workers, "
        f"commit {', '.join(commits)}, {', '.join(days)}, {machine()}.",
        "",
        "| build | image records | rows | wall s | CPU s | peak MB (PSS) | without mapped files | "
        "seconds of stages |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for name, outcome in outcomes.items():
        stages = ", ".join(f"{stage} {value:.0f}" for stage, value in outcome.stages.items())
        lines.append(
            f"| {STEPS[name].what} | {outcome.images:,} | {outcome.rows:,} | {outcome.wall:.1f} | "
            f"{outcome.cpu:.1f} | {outcome.tree:,.0f} | "
            f"{outcome.anonymous:,.0f} | {stages} |"
        )
    lines += ["", "| | measured | at most | |", "|---|---:|---:|---|"]
    for bar in BARS:
        value = value_of(bar, outcomes)
        if value is None:
            lines.append(f"| {bar.what} | not run | {bar.most:,g} | |")
            continue
        shown = f"{value:.2f} x" if bar.base else f"{value:,.0f}"
        verdict = "kept" if value <= bar.most else "**exceeded**"
        lines.append(f"| {bar.what} | {shown} | {bar.most:,g} | {verdict} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 1 if a build failed or a bar of a full-size run is exceeded."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.full_scale",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--work", type=Path, required=True, help="folder that all is kept in")
    parser.add_argument("--only", nargs="+", choices=tuple(STEPS), help="these steps (default all)")
    parser.add_argument("--again", action="store_true", help="run steps that have an outcome too")
    parser.add_argument("--scale", type=float, default=1.0, help="multiply images and samples")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--write", type=Path, metavar="FILE", help="Markdown file to put it into")
    given = parser.parse_args(argv)
    work = Workplace(given.work.resolve(), given.scale, given.workers)
    work.path.mkdir(parents=True, exist_ok=True)
    for name in given.only or STEPS:
        if work.load(name) is not None and not given.again:
            continue
        try:
            outcome = work.run(name, keep=name == KEPT)
        except (CommandFailed, subprocess.CalledProcessError) as error:
            print(error, file=sys.stderr)
            return 1
        cost = f"{outcome.wall:.1f} s, {outcome.cpu:.1f} CPU s, {outcome.tree:.0f} MB"
        print(f"{STEPS[name].what}: {cost}", file=sys.stderr, flush=True)
    found = {name: work.load(name) for name in STEPS}
    outcomes = {name: outcome for name, outcome in found.items() if outcome is not None}
    text = report(outcomes, given.scale)
    print(text)
    if given.write:
        write_section(given.write, "benchmarks.full_scale", text)
    values = [(value_of(bar, outcomes), bar.most) for bar in BARS]
    exceeded = any(value is not None and value > most for value, most in values)
    return int(exceeded and given.scale == 1)


if __name__ == "__main__":
    raise SystemExit(main())
