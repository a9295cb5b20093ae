"""Ablation study of the tiny preset: modules, contrasting samples and the presence loss left out.

All runs start from the same pretrained encoders and differ by configuration and seed alone. They
are evaluated by free generation on a dataset built from sources of another seed, and on questions
that need the other image (benchmarks.other_image). A run that is finished is never done again and
an interrupted one goes on, so the same command ends the study, or only writes its tables.

    python -m benchmarks.ablations --dataset data/mixedparts --encoders runs/encoders \\
        --test-dataset data/other-seed --seeds 0 1 2 --out runs/ablations \\
        --write docs/ablations.md
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.ablation_run import (
    PLAN,
    RESULT,
    VARIANTS,
    Places,
    Plan,
    base_config,
    plan_of,
    variant_config,
)
from benchmarks.ablation_table import tables
from benchmarks.other_image import shown_images
from benchmarks.report import machine, write_section
from calico.dataset.pairs import BuiltDataset
from mixedparts.errors import InputError, MixedPartsError, UsageError
from mixedparts.exit_codes import run_command
from mixedparts.progress import Lines
from mixedparts.storage.shards import write_text

_CHECKOUT = Path(__file__).resolve().parents[1]
_WAIT = 0.2  # seconds between looks at running trainings


@dataclass(frozen=True, slots=True)
class Job:
    """A run of the study and its folder."""

    plan: Plan
    folder: Path

    @property
    def title(self) -> str:
        """Return what a person calls it."""
        return f"{self.plan.variant}, seed {self.plan.seed}"

    def result(self) -> dict[str, Any] | None:
        """Return what the run has written at its end, None before."""
        path = self.folder / RESULT
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def prepare(arguments: argparse.Namespace) -> list[Job]:
    """Write the plans of all runs; those of one seed stand together.

    Raises:
        UsageError: a folder holds a run of another plan, or there is no such split.
        InputError: a dataset or the encoders are not there.
    """
    # Hours of training must not end at a dataset that cannot be evaluated on.
    test = BuiltDataset(arguments.test_dataset)
    test.build.check_split(arguments.test_split)
    shown_images(test)
    places = Places(
        *(
            path.resolve()
            for path in (
                arguments.dataset,
                arguments.test_dataset,
                arguments.encoders,
                arguments.out / "features",
            )
        )
    )
    base = base_config(arguments.config)
    jobs = []
    for seed in dict.fromkeys(arguments.seeds):
        for variant in dict.fromkeys(arguments.variants):
            plan = plan_of(
                places,
                variant_config(base, variant, seed, arguments.steps),
                variant,
                seed,
                test_split=arguments.test_split,
                limit=arguments.limit,
                triangles=arguments.triangles,
            )
            jobs.append(Job(plan, arguments.out / f"{variant.replace(' ', '-').lower()}-{seed}"))
    for job in jobs:
        _check_plan(job)
    for job in jobs:
        job.folder.mkdir(parents=True, exist_ok=True)
        written = {name: str(path) for name, path in asdict(places).items()}
        body = {"plan": asdict(job.plan), "places": written}
        write_text(job.folder / PLAN, json.dumps(body, indent=1) + "\n")
    return jobs


def _check_plan(job: Job) -> None:
    path = job.folder / PLAN
    if not path.is_file():
        return
    there = json.loads(path.read_text(encoding="utf-8"))["plan"]
    here = asdict(job.plan)
    different = sorted(name for name in here if there.get(name) != here[name])
    if different:
        raise UsageError(
            f"{job.folder} holds a run of another study: {', '.join(different)} differ",
            "Choose another --out, or give the same datasets, encoders, steps and limits.",
        )


def carry_out(jobs: Sequence[Job], at_once: int) -> None:
    """Do the runs that have no result yet, `at_once` at a time, in order.

    Raises:
        MixedPartsError: a run failed; the others are stopped and go on with the next command.
    """
    told = Lines()
    waiting = [job for job in jobs if job.result() is None]
    finished = len(jobs) - len(waiting)
    if finished:
        told.log(f"{finished} of {len(jobs)} runs are finished already.")
    began, done = time.monotonic(), 0
    running: dict[subprocess.Popen[bytes], Job] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                job = waiting.pop(0)
                running[_start(job)] = job
                told.log(f"started: {job.title} (log: {job.folder / 'run.log'})")
            time.sleep(_WAIT)
            for process in [one for one in running if one.poll() is not None]:
                job = running.pop(process)
                _check_end(job, process.returncode)
                done += 1
                left = len(jobs) - finished - done
                minutes = (time.monotonic() - began) / done * left / 60
                told.log(
                    f"{finished + done} of {len(jobs)} finished: {job.title}; "
                    f"about {minutes:.0f} minutes left"
                )
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()


def _start(job: Job) -> subprocess.Popen[bytes]:
    """Start a run in a process of its own, with one thread."""
    path = os.pathsep.join(filter(None, [str(_CHECKOUT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    with (job.folder / "run.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.ablation_run", str(job.folder)],
            stdout=log,
            stderr=log,
            env=environment,
        )


def _check_end(job: Job, code: int) -> None:
    if code == 0 and job.result() is not None:
        return
    said = (job.folder / "run.log").read_text(encoding="utf-8", errors="replace").splitlines()
    raise MixedPartsError(
        f"the run '{job.title}' ended with exit code {code}: " + "\n".join(said[-3:]),
        f"Its log: {job.folder / 'run.log'}. The same command goes on with the others finished.",
    )


def report(jobs: Sequence[Job], arguments: argparse.Namespace) -> str:
    """Return the section of the document from the finished runs.

    Raises:
        InputError: none is finished.
    """
    results = [result for job in jobs if (result := job.result()) is not None]
    if not results:
        raise InputError(f"no run in {arguments.out} is finished yet", "Leave out --report.")
    date = datetime.date.today().isoformat()
    seeds = " ".join(map(str, arguments.seeds))
    steps = arguments.steps or base_config(arguments.config).training.steps
    unfinished = len(jobs) - len(results)
    missing = f" {unfinished} of {len(jobs)} runs are missing." if unfinished else ""
    lines = [
        "## Results",
        "",
        f"`python -m benchmarks.ablations --seeds {seeds} --steps {steps} "
        f"--limit {arguments.limit} --triangles {arguments.triangles}`: {date}, "
        f"{machine(('torch', 'transformers'))}; one thread a run, {arguments.jobs} at once."
        f"{missing} {arguments.note}".rstrip(),
        "",
        tables(results),
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the study and print its tables."""
    arguments = _parser().parse_args(argv)
    return run_command(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    jobs = prepare(arguments)
    if not arguments.report:
        carry_out(jobs, arguments.jobs)
    text = report(jobs, arguments)
    print(text)
    if arguments.write is not None:
        write_section(arguments.write, "benchmarks.ablations", text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ablations",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(variants=list(VARIANTS))
    add = parser.add_argument
    add("--dataset", type=Path, required=True, metavar="DIR", help="build to train on")
    add("--test-dataset", type=Path, required=True, metavar="DIR", help="build of another seed")
    add("--encoders", type=Path, required=True, metavar="DIR", help="what calico-pretrain wrote")
    add("--out", type=Path, required=True, metavar="DIR", help="a folder for every run, results")
    add("--config", type=Path, metavar="FILE", help="YAML with values that differ from tiny")
    named = ", ".join(map(repr, VARIANTS))
    add("--variants", nargs="+", choices=VARIANTS, metavar="NAME", help=f"default: all of {named}")
    add("--seeds", type=_seed, nargs="+", default=[0, 1, 2], metavar="N", help="default: 0 1 2")
    add("--steps", type=_positive, metavar="N", help="of each training (as the preset)")
    add("--test-split", default="benchmark", help="default: benchmark")
    add("--limit", type=_positive, default=300, metavar="N", help="samples evaluated (300)")
    asked = "triangles of images, six questions about the other image each (50)"
    add("--triangles", type=_positive, default=50, metavar="N", help=asked)
    add("--jobs", type=_positive, default=1, metavar="N", help="runs at once, a thread each (1)")
    add("--report", action="store_true", help="only write tables of what is finished")
    add("--note", default="", help="for the record: what else ran on the machine")
    add("--write", type=Path, metavar="FILE", help="put the tables into this document")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not above 0")
    return value


def _seed(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is negative")
    return value


if __name__ == "__main__":
    raise SystemExit(main())
