"""Compare `mixedparts build` with the naive builder on one PACO-shaped file, or with itself.

Both builders run as child processes, taking turns, on the same file with the same number of rows:
by default 55 an image, as the published MixedParts has (2.4 million samples of 44 thousand images).
Each also runs once with a tenth of the rows, which shows what rows cost, and the masks, boxes and
areas of those two outputs are compared. Linux only (reads /proc).

Examples:
    python -m benchmarks.build_speed                              3,000 images, 3 runs each
    python -m benchmarks.build_speed --images 300 --repeats 1     a quick look
    python -m benchmarks.build_speed --write docs/benchmarks.md   put the table into the docs
    python -m benchmarks.build_speed --against c2a0771            with itself at an earlier commit
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import build_against
from benchmarks.comparison import Result, Setting
from benchmarks.process_tree import CommandFailed, Measurement, measure
from benchmarks.report import table, write_section

BUILDERS = ("naive", "ours")
_ROWS_PER_IMAGE = 55
_FEWER = 10


def run(setting: Setting, builder: str, rows: int) -> Measurement:
    """Build once into an empty folder."""
    shutil.rmtree(setting.out(builder), ignore_errors=True)
    result = measure(setting.command(builder, rows), setting.work / f"{builder}.log")
    tell(f"{builder:6} {rows:7} rows: {result.wall:6.1f} s, {result.tree:6.0f} MB")
    return result


def prepare(setting: Setting) -> None:
    """Write the shaped sources in a process of their own, unless they are there."""
    mark = setting.root / "complete"
    if not mark.exists():
        tell(f"writing a PACO-shaped file of {setting.images} images")
        command = [sys.executable, "-m", "benchmarks.paco_shaped", "--out", str(setting.root)]
        subprocess.run([*command, "--images", str(setting.images)], check=True, stdout=sys.stderr)
        mark.touch()


def compare(setting: Setting, repeats: int) -> Result:
    """Run both builders once with fewer rows, then in turn with all; check what they wrote."""
    from benchmarks.same_rows import check_entities, check_rows

    rows = setting.samples // _FEWER
    fewer = {builder: run(setting, builder, rows) for builder in BUILDERS}
    tell(check_rows(setting.pairs("naive"), setting.pairs("ours"), rows))
    tell(check_entities(setting.pairs("naive"), setting.pairs("ours")))
    runs: dict[str, list[Measurement]] = {builder: [] for builder in BUILDERS}
    for _ in range(repeats):
        for builder, done in runs.items():
            done.append(run(setting, builder, setting.samples))
    tell(check_rows(setting.pairs("naive"), setting.pairs("ours"), setting.samples))
    return Result(setting, runs, rows, fewer)


def tell(message: str) -> None:
    """Say what goes on, on stderr."""
    print(message, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.build_speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--images", type=int, help="images of the file (3000; with --against those of PACO)"
    )
    parser.add_argument(
        "--against", metavar="COMMIT", help="compare with this commit, not with the naive builder"
    )
    parser.add_argument("--samples", type=int, help="rows to build, 55 an image if not given")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each builder")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--pictures", choices=("embed", "reference"), default="embed")
    parser.add_argument("--work", type=Path, help="keep sources and outputs here")
    parser.add_argument("--write", type=Path, metavar="FILE", help="Markdown file to put it into")
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="build_speed") as folder:
        work = (given.work or Path(folder)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        try:
            text = _against(given, work) if given.against else _naive(given, work)
        except (CommandFailed, subprocess.CalledProcessError) as error:
            tell(str(error))
            return 1
    print(text)
    if given.write:
        section = "benchmarks.build_against" if given.against else "benchmarks.build_speed"
        write_section(given.write, section, text)
    return 0


def _naive(given: argparse.Namespace, work: Path) -> str:
    """Compare with the naive builder; return the table."""
    images = given.images or 3000
    rows = given.samples or _ROWS_PER_IMAGE * images
    setting = Setting(work, images, rows, given.workers, given.pictures)
    prepare(setting)
    return table(compare(setting, given.repeats))


def _against(given: argparse.Namespace, work: Path) -> str:
    """Compare with an earlier commit; return the table."""
    comparison = build_against.Comparison(
        given.against,
        work,
        given.images or build_against.PACO_IMAGES,
        given.samples or 800_000,
        given.workers,
    )
    return build_against.report(comparison, build_against.compare(comparison, given.repeats))


if __name__ == "__main__":
    raise SystemExit(main())
