"""Read a large build: the first row, random rows, and the start of training in several processes.

The build is one that `benchmarks.full_scale` has left (`build-three-1` in its --work). Loading runs
with an empty cache of `datasets` and again with a full one. Training starts in --ranks processes at
once, with the code of --against and with that of this folder, without and with the cache of
samples; the memory of all of them is read from /proc while they wait (Linux only). At full size the
cache of `datasets` needs about 10 GB of disk for the time of the run.

Examples:
    python -m benchmarks.reading_scale --build /data/scale/build-three-1 --against c2a0771
    python -m benchmarks.reading_scale --build /tmp/quick/build-three-0.01 --parts training
    python -m benchmarks.reading_scale --build … --write docs/scale.md
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.report import machine, write_section

HERE = Path(__file__).resolve().parent
PARTS = ("loading", "training")
_KEYS = ("Pss", "Private_Clean", "Private_Dirty", "Anonymous")


class DifferentSamples(RuntimeError):
    """Two runs did not make the same samples; the text says which."""


@dataclass(frozen=True, slots=True)
class Rank:
    """What one training process needed.

    Attributes:
        rows: of the train split.
        start: wall seconds from the imports' end to the samples of the first step.
        start_cpu: CPU seconds of the same.
        rate: random rows that become samples in a CPU second, without images and tokens.
        ids, content, order: digests of the ids, of some samples, and of the samples of the steps.
        pss: MB while all processes wait, shared pages divided among the processes that map them.
        uss: MB that no other process maps.
        anonymous: MB that belong to no file, so that the system cannot drop them.
    """

    rows: int
    start: float
    start_cpu: float
    rate: float
    ids: str
    content: str
    order: str
    pss: float
    uss: float
    anonymous: float


def run_ranks(code: Path, build: Path, cache: Path, ranks: int, steps: int) -> list[Rank]:
    """Start training processes at once and measure them while all of them wait.

    Args:
        code: folder of the packages.
        build: the build folder.
        cache: the cache folder of this project.
        ranks: number of processes.
        steps: that each process makes samples of.

    Returns:
        What each of them needed.

    Raises:
        subprocess.CalledProcessError: a process failed.
    """
    environment = {**os.environ, "PYTHONPATH": str(code), "MIXEDPARTS_CACHE": str(cache)}
    probe = [sys.executable, str(HERE / "rank_probe.py"), str(build), str(steps)]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [*probe, str(rank), str(ranks)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env=environment,
                    cwd=code,
                    text=True,
                )
            )
            for rank in range(ranks)
        ]
        lines = [process.stdout.readline() if process.stdout else "" for process in processes]
        found = []
        for process, line in zip(processes, lines, strict=True):
            if not line:
                raise subprocess.CalledProcessError(process.wait(), probe)
            memory = memory_of(process.pid)
            uss = memory["Private_Clean"] + memory["Private_Dirty"]
            found.append(Rank(**json.loads(line), pss=memory["Pss"], uss=uss,
                              anonymous=memory["Anonymous"]))  # fmt: skip
        for process in processes:
            process.communicate()
    return found


def memory_of(pid: int) -> dict[str, float]:
    """Return MB of a process by the keys of `smaps_rollup`."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        key, _, rest = line.partition(":")
        if key in _KEYS:
            found[key] = int(rest.split()[0]) * 1024 / 1e6
    return found


def check_same(runs: Mapping[str, Sequence[Rank]]) -> None:
    """Check that all runs read the same samples, and took the same ones where they must.

    Raises:
        DifferentSamples: they did not.
    """
    for key in ("rows", "ids", "content"):
        by_run = {name: [getattr(rank, key) for rank in ranks] for name, ranks in runs.items()}
        if len({json.dumps(values) for values in by_run.values()}) > 1:
            raise DifferentSamples(f"{key} differ: {by_run}")


def training(build: Path, against: str, ranks: int, steps: int) -> dict[str, list[Rank]]:
    """Run the training processes of an earlier commit and of this code, by name of the run."""
    with tempfile.TemporaryDirectory(prefix="reading_scale") as folder:
        place = Path(folder)
        earlier = place / "earlier"
        earlier.mkdir()
        git = ["git", "-C", str(HERE.parent)]
        archive = subprocess.run([*git, "archive", against], check=True, capture_output=True)
        subprocess.run(["tar", "-x", "-C", str(earlier)], input=archive.stdout, check=True)
        cache = place / "cache"
        here = HERE.parent
        runs = {
            f"commit {against}": run_ranks(earlier, build, cache, ranks, steps),
            "this code, first start": run_ranks(here, build, cache, ranks, steps),
            "this code, later starts": run_ranks(here, build, cache, ranks, steps),
        }
        blocked = place / "file"
        blocked.touch()  # a cache that cannot be written
        runs["this code, no cache"] = run_ranks(here, build, blocked, ranks, steps)
    check_same(runs)
    return runs


def loading(build: Path, rows: int) -> dict[str, dict[str, float]]:
    """Load the build with an empty and with a full cache of `datasets`; return figures by run."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="reading_scale", dir=build.parent) as folder:
        environment = {**os.environ, "HF_DATASETS_CACHE": folder}
        probe = [sys.executable, str(HERE / "reading_probe.py")]
        for how, cache in (("plain", "empty"), ("plain", "full"), ("mixedparts", "full")):
            command = [*probe, how, str(build), str(rows)]
            done = subprocess.run(
                command, env=environment, check=True, capture_output=True, text=True
            )
            found[f"{how}, {cache} cache"] = json.loads(done.stdout.splitlines()[-1])
    return found


def training_table(runs: Mapping[str, Sequence[Rank]]) -> list[str]:
    """Return the training processes as lines of Markdown; memory as the mean of the processes."""
    first = next(iter(runs.values()))
    lines = [
        f"Start of training on {first[0].rows:,} samples in {len(first)} processes at once. All "
        "runs read the same samples.",
        "",
        "| | wall s | CPU s a process | MB a process: PSS | USS | anonymous | less (PSS) | "
        "random rows a CPU s |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    before = mean([rank.pss for rank in first])
    for name, ranks in runs.items():
        pss = mean([rank.pss for rank in ranks])
        lines.append(
            f"| {name} | {max(rank.start for rank in ranks):.1f} | "
            f"{mean([rank.start_cpu for rank in ranks]):.1f} | {pss:,.0f} | "
            f"{mean([rank.uss for rank in ranks]):,.0f} | "
            f"{mean([rank.anonymous for rank in ranks]):,.0f} | {before / pss:.1f} x | "
            f"{mean([rank.rate for rank in ranks]):,.0f} |"
        )
    return lines


def loading_table(found: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return the runs of loading as lines of Markdown."""
    lines = [
        "| load_dataset | first row after s | rows a second at random | with `pixels` unused | "
        "with pixels | peak MB |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, run in found.items():
        cells = [f"{run[key]:,.0f}" if key in run else "" for key in ("rows", "lazy", "pixels")]
        lines.append(f"| {name} | {run['first']:.1f} | {' | '.join(cells)} | {run['peak']:,.0f} |")
    return lines


def mean(values: Sequence[float]) -> float:
    """Return the mean of some numbers."""
    return sum(values) / len(values)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reading_scale",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--build", type=Path, required=True, help="a finished build")
    parser.add_argument("--against", default="c2a0771", help="the earlier commit")
    parser.add_argument("--ranks", type=int, default=2, help="training processes at once")
    parser.add_argument("--steps", type=int, default=200, help="steps that each makes samples of")
    parser.add_argument("--rows", type=int, default=2000, help="random rows of each run")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--write", type=Path, metavar="FILE", help="Markdown file to put it into")
    given = parser.parse_args(argv)
    build = given.build.resolve()
    day = datetime.now(UTC).date().isoformat()
    packages = machine(("datasets", "pyarrow", "numpy"))
    lines = [f"`python -m benchmarks.reading_scale`, {day}, {packages}."]
    try:
        if "loading" in given.parts:
            lines += ["", *loading_table(loading(build, given.rows))]
        if "training" in given.parts:
            runs = training(build, given.against, given.ranks, given.steps)
            lines += ["", *training_table(runs)]
    except subprocess.CalledProcessError as error:
        print(f"{error}\n{error.stderr or ''}", file=sys.stderr)
        return 1
    except DifferentSamples as error:
        print(error, file=sys.stderr)
        return 1
    text = "\n".join(lines)
    print(text)
    if given.write:
        write_section(given.write, "benchmarks.reading_scale", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
