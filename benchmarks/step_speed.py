"""Time the steps of the tiny preset against an earlier commit, on this CPU and on a plainer one.

Both commits train on the same synthetic dataset through `calico-train`, taking turns: every stage
of pretraining, training, and then generation with what was trained. The plainer CPU is this one
with AVX2 alone (`ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2`), as most laptops have it. The
earlier commit is checked out as a git worktree.

Examples:
    python -m benchmarks.step_speed                                  3 rounds against c2a0771
    python -m benchmarks.step_speed --against HEAD~1 --rounds 1      a quick look
    python -m benchmarks.step_speed --write docs/step-speed.md       put the table into the docs
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from benchmarks.report import instruction_sets, machine, write_section

ROOT = Path(__file__).parents[1]
CPUS = {"as it is": {}, "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}}
_SOURCES = ("paco", "partimagenet", "ade20k")
_EVERY = 10  # steps between two lines of a log; the first line of a stage holds its warm-up
_ANSWERS = 24
# Both commits have these two entry points.
_TRAIN = "import sys; from calico.cli.train import main; sys.exit(main(sys.argv[1:]))"
_GENERATE = """
import json, sys, time
import calico
from calico import load
checkpoint, count, *images = sys.argv[1:]
model = load(checkpoint, "cpu")
pairs = list(zip(images[::2], images[1::2]))[: int(count)]
for first, second in pairs[:2]:
    model(first, second, task="common_parts")
began = time.perf_counter()
for first, second in pairs:
    model(first, second, task="common_parts")
print(json.dumps((time.perf_counter() - began) / len(pairs)))
"""


@dataclass(frozen=True, slots=True)
class Bench:
    """What both commits share: a folder with sources, a dataset and a configuration."""

    work: Path
    steps: int

    @property
    def dataset(self) -> Path:
        """The built dataset."""
        return self.work / "dataset"


def prepare(bench: Bench, images: int) -> None:
    """Write sources, dataset and configuration, unless they are there."""
    if not (bench.dataset / "manifest.json").is_file():
        sources = bench.work / "sources"
        sample = f"sample --out {sources} --images {images} --seed 1"
        build = f"build --sources {' '.join(_SOURCES)} --root {sources} --out {bench.dataset}"
        for words in (sample, f"{build} --samples {8 * images}"):
            code = "from mixedparts.cli import main; main()"
            command = [sys.executable, "-c", code, *words.split(), "--quiet"]
            subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    lengths = dict.fromkeys(("steps", "semantic_steps", "mask_steps", "qformer_steps"), bench.steps)
    training = {"steps": bench.steps, "log_every": _EVERY}
    text = json.dumps({"training": training, "pretraining": lengths})
    (bench.work / "short.yaml").write_text(text)


def run(bench: Bench, tree: Path, cpu: str) -> dict[str, float]:
    """Train and answer once; return seconds a step, or an answer, by stage."""
    out = bench.work / "run"
    shutil.rmtree(out, ignore_errors=True)
    environment = {**os.environ, **CPUS[cpu], "PYTHONPATH": str(tree), "PYTHONWARNINGS": "ignore"}
    words = ["--dataset", bench.dataset, "--preset", "tiny", "--config", bench.work / "short.yaml"]
    words += ["--output-dir", out, "--device", "cpu", "--quiet"]
    command = [sys.executable, "-c", _TRAIN, *map(str, words)]
    # `-m calico.cli.train` of the worker processes must find the same tree.
    subprocess.run(command, check=True, env=environment, cwd=tree, stdout=subprocess.DEVNULL)
    images = sorted((bench.work / "sources/ADE20KPart234/images/validation").glob("*.jpg"))
    answer = [sys.executable, "-c", _GENERATE, str(out), str(_ANSWERS)]
    answer += list(map(str, images[: 2 * _ANSWERS]))
    done = subprocess.run(
        answer, check=True, env=environment, cwd=tree, stdout=subprocess.PIPE, text=True
    )
    return {**dict(stage_seconds(out)), "generation, an answer": float(done.stdout.split()[-1])}


def stage_seconds(run_folder: Path) -> Iterator[tuple[str, float]]:
    """Yield the seconds of a step of every stage, from the logs of a run, warm-up left out."""
    files = [*sorted(run_folder.glob("encoders*.jsonl")), run_folder / "train.log.jsonl"]
    stages: dict[str, list[dict[str, float]]] = {}
    for file in files:
        for text in file.read_text().splitlines():
            line = json.loads(text)
            stages.setdefault(line.get("stage", ""), []).append(line)
    for stage, lines in stages.items():
        timed = [line for line in lines if "seconds" in line and "step" in line]
        if len(timed) > 1:
            first, last = timed[0], timed[-1]
            yield stage, (last["seconds"] - first["seconds"]) / (last["step"] - first["step"])


def worktree(commit: str, folder: Path) -> Path:
    """Check out an earlier commit."""
    if not folder.is_dir():
        command = ["git", "worktree", "add", "--quiet", "--detach", str(folder), commit]
        subprocess.run(command, check=True, cwd=ROOT)
    return folder


def table(results: dict[str, dict[str, list[dict[str, float]]]], commit: str) -> str:
    """Return medians and ratios as Markdown; ratios are those of runs that took turns."""
    packages = ("torch", "transformers")
    lines = [
        "## Steps of the tiny preset",
        "",
        f"`python -m benchmarks.step_speed`: seconds a step against commit {commit}, medians of the"
        " runs, which take turns; ratios of the pairs, least to greatest. AVX2 is the same CPU with"
        " `ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2`.",
        "",
        f"{date.today().isoformat()}, {machine(packages)}; {instruction_sets()}.",
        "",
        f"| CPU | stage | {commit} | now | times faster |",
        "|---|---|---:|---:|---:|",
    ]
    for cpu, trees in results.items():
        for stage in trees["now"][0]:
            before = [found[stage] for found in trees["before"]]
            now = [found[stage] for found in trees["now"]]
            ratios = sorted(b / n for b, n in zip(before, now, strict=True))
            cells = f"{statistics.median(before):.3f} | {statistics.median(now):.3f}"
            spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            lines.append(f"| {cpu} | {stage} | {cells} | {spread} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.step_speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--against", default="c2a0771", metavar="COMMIT")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=50, help="of each stage")
    parser.add_argument("--images", type=int, default=200, help="of each source")
    parser.add_argument("--cpus", nargs="+", choices=tuple(CPUS), default=tuple(CPUS))
    parser.add_argument("--work", type=Path, help="keep everything here")
    parser.add_argument("--write", type=Path, metavar="FILE", help="Markdown file to put it into")
    given = parser.parse_args(argv)
    if given.steps <= _EVERY:
        parser.error(f"--steps must be more than {_EVERY}")
    with tempfile.TemporaryDirectory(prefix="step_speed") as folder:
        work = (given.work or Path(folder)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        bench = Bench(work, given.steps)
        prepare(bench, given.images)
        trees = {"before": worktree(given.against, work / "before"), "now": ROOT}
        results: dict[str, dict[str, list[dict[str, float]]]] = {
            cpu: {name: [] for name in trees} for cpu in given.cpus
        }
        try:
            for number in range(given.rounds):
                for cpu in given.cpus:
                    for name, tree in trees.items():
                        results[cpu][name].append(run(bench, tree, cpu))
                        print(
                            f"round {number + 1}, {cpu}: {name} done", file=sys.stderr, flush=True
                        )
        finally:
            if given.work is None:
                command = ["git", "worktree", "remove", "--force", str(trees["before"])]
                subprocess.run(command, check=False, cwd=ROOT)
    text = table(results, given.against)
    print(text)
    if given.write:
        write_section(given.write, "benchmarks.step_speed", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
