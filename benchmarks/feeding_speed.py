"""Images that are prepared for the 7B model a second, against an earlier commit, and a fed GPU.

Both commits prepare the same 640 x 480 JPEGs until the normalised float32 inputs of the three
encoders lie in memory, taking turns; the inputs are compared bit for bit. The earlier commit does
so in the training process, one image after the other. Here that process only normalises what worker
processes decode and resize. Then a simulated H100 is fed by the loader of `calico-train`
(`benchmarks/feeding_device.py`).

Examples:
    python -m benchmarks.feeding_speed                            against c2a0771
    python -m benchmarks.feeding_speed --rounds 1 --images 64     a quick look
    python -m benchmarks.feeding_speed --write docs/feeding.md    put the tables into the docs
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.feeding_device import Fed, fed, step_time
from benchmarks.report import machine, write_section
from calico.config.presets import preset

ROOT = Path(__file__).parents[1]
PACKAGES = ("pillow", "opencv-python", "scipy", "torch")
Runs = dict[str, list[dict[str, Any]]]


def archived(commit: str, folder: Path) -> Path:
    """Unpack an earlier commit."""
    command = ["git", "archive", "--format=tar", commit]
    data = subprocess.run(command, check=True, cwd=ROOT, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        tar.extractall(folder, filter="data")
    return folder


def draw_images(folder: Path, count: int) -> None:
    """Write JPEGs of 640 x 480, of smooth colours with grain: about 110 KB each."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        colours = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8))
        smooth = np.asarray(colours.resize((640, 480), Image.Resampling.BICUBIC), np.int16)
        grain = rng.integers(-12, 13, (480, 640, 3), dtype=np.int16)
        pixels = (smooth + grain).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:05}.jpg", quality=90)


def run(tree: Path, images: Path, kind: str) -> dict[str, Any]:
    """Prepare all images once in a process of their own; return what it measured."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "benchmarks/feeding_subject.py"), str(images), kind]
    done = subprocess.run(
        command, check=True, cwd=tree, env=environment, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(tree: Path, images: Path, rounds: int, workers: Sequence[int]) -> Runs:
    """Return the runs of both commits by kind; they take turns."""
    runs: Runs = {"earlier": [], **{str(count): [] for count in workers}}
    for number in range(rounds):
        for kind in runs:
            runs[kind].append(run(tree if kind == "earlier" else ROOT, images, kind))
            print(f"round {number + 1}: {kind} done", file=sys.stderr, flush=True)
    digests = {one["digest"] for kind in runs.values() for one in kind}
    if len(digests) > 1:
        raise SystemExit("the two commits make different inputs")
    return runs


def speed_table(runs: Runs, commit: str) -> list[str]:
    """Return rates and ratios as Markdown; ratios are those of runs that took turns."""
    lines = [
        f"| | images a second | times {commit} | CPU ms an image, all processes | CPU times |",
        "|---|---:|---:|---:|---:|",
    ]
    for kind, found in runs.items():
        name = f"{commit}, one process" if kind == "earlier" else f"now, {kind} workers"
        name = "now, without workers: one core" if kind == "0" else name
        rates = [one["images"] / one["wall"] for one in found]
        costs = [1000 * one["cpu"] / one["images"] for one in found]
        cells = [f"{statistics.median(rates):.1f} ({min(rates):.1f} to {max(rates):.1f})"]
        cells += [_ratios([b["wall"] / n["wall"] for b, n in _pairs(runs, kind)])]
        cells += [f"{statistics.median(costs):.1f} ({min(costs):.1f} to {max(costs):.1f})"]
        cells += [_ratios([b["cpu"] / n["cpu"] for b, n in _pairs(runs, kind)])]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _pairs(runs: Runs, kind: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return list(zip(runs["earlier"], runs[kind], strict=True))


def _ratios(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def device_table(found: dict[tuple[float, int], Fed]) -> list[str]:
    """Return how busy the simulated device was, as Markdown."""
    lines = [
        "| utilisation | device time of a step | workers | step | images a second | device busy |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for (utilisation, workers), one in found.items():
        seconds = one.step * one.busy
        cells = [f"{utilisation:.0%}", f"{seconds:.2f} s", str(workers), f"{one.step:.2f} s"]
        cells += [f"{one.images:.0f}", f"{one.busy:.0%}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def needed(runs: Runs) -> str:
    """Return a sentence on the workers that an H100 needs at the preset's batch."""
    cost = statistics.median(one["cpu"] / one["images"] for one in runs["0"])
    config = preset("7b")
    images = 2 * config.training.batch_size
    texts = []
    for utilisation in (0.4, 0.6, 1.0):
        device = step_time(config, utilisation)
        rate = images / (images * device.image + device.rest)
        texts.append(
            f"{utilisation:.0%}: {rate:.0f} images a second, {math.ceil(rate * cost / 0.9)} workers"
        )
    return (
        f"A core prepares {1 / cost:.0f} images a second. What an H100 asks for at"
        f" {config.training.batch_size} pairs of different images a step, by utilisation, and the"
        f" workers of this machine's cores that give it with a tenth to spare: {'; '.join(texts)}."
    )


def built(work: Path, images: int) -> Path:
    """Write a build of 640 x 480 images."""
    script = str(Path(sys.executable).with_name("mixedparts"))
    root, build = work / "sources", work / "build"
    make = [sys.executable, "-m", "benchmarks.paco_shaped", "--images", str(images)]
    write = [script, "build", "--sources", "paco", "--root", str(root), "--quiet"]
    for command in ([*make, "--out", str(root)], [*write, "--out", str(build)]):
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return build


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.feeding_speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--against", default="c2a0771", metavar="COMMIT")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=160, help="JPEGs to prepare")
    parser.add_argument("--workers", type=int, nargs="+", default=(0, 1, 2))
    parser.add_argument("--steps", type=int, default=6, help="of the simulated device; 0: none")
    parser.add_argument(
        "--fed", type=int, nargs="+", default=(0, 1, 2), help="workers that feed it"
    )
    parser.add_argument("--shaped", type=int, default=600, help="images of the dataset for it")
    parser.add_argument("--write", type=Path, metavar="FILE", help="Markdown file to put it into")
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="feeding_speed") as folder:
        work = Path(folder)
        draw_images(work / "images", given.images)
        tree = archived(given.against, work / "earlier")
        load = os.getloadavg()[0]
        runs = measure(tree, work / "images", given.rounds, sorted({0, *given.workers}))
        found: dict[tuple[float, int], Fed] = {}
        if given.steps:
            build = built(work, given.shaped)
            for workers in given.fed:
                found[0.4, workers] = fed(build, workers, given.steps, 0.4)
                print(f"device with {workers} workers done", file=sys.stderr, flush=True)
    lines = [
        "## Prepared images, and a fed GPU",
        "",
        f"`python -m benchmarks.feeding_speed`: {given.images} JPEGs of 640 x 480 for the 7B"
        f" model's encoders (224, 224 and 1024 pixels), medians of {given.rounds} runs that take"
        " turns, least to greatest in brackets; ratios are those of the pairs. All inputs are equal"
        f" to those of {given.against}, bit for bit.",
        "",
        f"{date.today().isoformat()}, {machine(PACKAGES)}; load of the machine at the start"
        f" {load:.1f}.",
        "",
        *speed_table(runs, given.against),
        "",
        needed(runs),
    ]
    if found:
        lines += [
            "",
            "The simulated H100, fed by `calico-train`'s loader:",
            "",
            *device_table(found),
        ]
    text = "\n".join(lines)
    print(text)
    if given.write:
        write_section(given.write, "benchmarks.feeding_speed", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
