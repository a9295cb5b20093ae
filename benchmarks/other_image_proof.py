"""Prove that the questions of `benchmarks.other_image` need the other image and can be learnt.

What one image is good for is counted from the questions themselves. Then a language model behind
perfect encoders (benchmarks.oracle_features) is trained on pairs of the train split and answers the
triangles of a dataset that was drawn with another seed, once with both images and once with the
second one hidden.

    python -m benchmarks.other_image_proof --dataset data/mixedparts \\
        --test-dataset data/other-seed --steps 1500 --write docs/ablations.md
"""

from __future__ import annotations

import argparse
import datetime
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.oracle_features import LabelCode, PairDraw, build_subject, train_stage
from benchmarks.other_image import (
    TASKS,
    Asked,
    asked_questions,
    part_names,
    right_answer,
    shown_images,
)
from benchmarks.other_image_marks import Marks, mark, single_image_bound
from benchmarks.report import machine, write_section
from calico.dataset.pairs import BuiltDataset
from calico.runtime.device import prepare_process
from mixedparts.errors import InputError
from mixedparts.exit_codes import run_command
from mixedparts.progress import Progress, terminal_progress
from mixedparts.records import Task

Rows = Mapping[str, Mapping[Task, Marks]]


def prove(
    dataset: BuiltDataset,
    asked: Mapping[Task, Sequence[Asked]],
    names: frozenset[str],
    steps: int,
    seed: int,
    progress: Progress,
) -> Rows:
    """Train with both images and with the second hidden; return what each is worth.

    Args:
        dataset: its train split teaches.
        asked: questions of both tasks.
        names: of all parts.
        steps: of each training.
        seed: of weights and pairs.
        progress: is told how far it has come.
    """
    images = [image for image in shown_images(dataset) if image.split == "train"]
    code, pairs = LabelCode.of(images), PairDraw(images)
    rows: dict[str, dict[Task, Marks]] = {}
    for hidden in (False, True):
        subject = build_subject(dataset, code, seed, hidden)
        train_stage(subject, pairs, steps, seed, progress)
        answers = {task: subject.answers(some) for task, some in asked.items()}
        title = "second image hidden" if hidden else "both images"
        for which, whose in (((0, 1), "both"), ((0,), "the first")):
            rows[f"learnt, {title}; answers for {whose}"] = {
                task: mark(some, answers[task], names, which) for task, some in asked.items()
            }
    # Of the second image nobody can say anything who does not see it.
    return {name: row for name, row in rows.items() if "hidden; answers for both" not in name}


def counted(asked: Mapping[Task, Sequence[Asked]], names: frozenset[str]) -> Rows:
    """Return what follows from the questions themselves: the two-image oracle's marks."""
    right = {task: {one.id: right_answer(one) for one in some} for task, some in asked.items()}
    return {"right answers": {task: mark(some, right[task], names) for task, some in asked.items()}}


def table(asked: Mapping[Task, Sequence[Asked]], rows: Rows) -> str:
    """Return all figures in percent as Markdown."""
    head = [f"{task} {name}" for task in asked for name in ("exact", "choice")]
    lines = [f"| | {' | '.join(head)} |", "|---|" + "---:|" * len(head)]
    for sees, title in enumerate(("the image that the answer is for", "the other image")):
        cells = [
            cell
            for some in asked.values()
            for cell in (
                f"{100 * single_image_bound(some, sees):.1f}",
                "50.0" if sees == 0 else "",
            )
        ]
        lines.append(f"| at best, who sees only {title} | {' | '.join(cells)} |")
    for title, marks in rows.items():
        cells = [
            f"{100 * value:.1f}"
            for task in asked
            for value in (marks[task].exact, marks[task].choice)
        ]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.other_image_proof",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--dataset", type=Path, required=True, metavar="DIR", help="its train split teaches")
    add("--test-dataset", type=Path, required=True, metavar="DIR", help="build of another seed")
    add("--steps", type=int, default=1500, metavar="N", help="of each of two trainings (1500)")
    add("--triangles", type=int, default=50, metavar="N", help="of each task at most (50)")
    add("--seed", type=int, default=0, metavar="N", help="of weights and pairs (0)")
    add("--note", default="", help="for the record: what else ran on the machine")
    add("--write", type=Path, metavar="FILE", help="put the table into this document")
    arguments = parser.parse_args(argv)
    return run_command(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    prepare_process(1)
    images = shown_images(BuiltDataset(arguments.test_dataset))
    names = part_names(images)
    asked = asked_questions(images, arguments.triangles)
    for task in TASKS:
        if not asked[task]:
            raise InputError(
                f"{arguments.test_dataset} shows no three images for questions of {task}",
                "Draw more: mixedparts sample --images 1000, then build again.",
            )
    rows = dict(counted(asked, names))
    began = time.process_time()
    dataset = BuiltDataset(arguments.dataset)
    rows |= prove(dataset, asked, names, arguments.steps, arguments.seed, terminal_progress())
    spent = time.process_time() - began
    numbers = ", ".join(f"{len(some)} of {task}" for task, some in asked.items())
    date = datetime.date.today().isoformat()
    lines = [
        "## The questions need the other image, and can be learnt",
        "",
        f"`python -m benchmarks.other_image_proof --steps {arguments.steps} --triangles "
        f"{arguments.triangles} --seed {arguments.seed}`: {date}, {machine(('torch',))}; "
        f"{spent:,.0f} CPU s, one thread. {arguments.note}".rstrip(),
        "",
        f"Questions: {numbers}. In percent:",
        "",
        table(asked, rows),
    ]
    text = "\n".join(lines)
    print(text)
    if arguments.write is not None:
        write_section(arguments.write, "benchmarks.other_image_proof", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
