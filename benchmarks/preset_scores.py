"""The scores of a trained preset on datasets from sources of other seeds, in one table.

Answers of the whole benchmark split by free generation (strict mIoU and label F1 of each task), and
questions that need the other image (`benchmarks.other_image`).

    python -m benchmarks.preset_scores --checkpoint runs/study/tiny \\
        --test-dataset runs/study/seed-77 --test-dataset runs/study/seed-5 --write docs/comparing.md
"""

from __future__ import annotations

import argparse
import datetime
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.ablation_run import other_image_marks
from benchmarks.other_image import TASKS
from benchmarks.report import machine, write_section
from calico.checkpoints.rotation import newest_checkpoint
from calico.checkpoints.save_load import load_checkpoint
from calico.dataset.pairs import BuiltDataset
from calico.evaluation.in_memory import evaluate_model
from calico.inference.predictor import Predictor
from calico.runtime.device import prepare_process
from mixedparts.exit_codes import run_command
from mixedparts.progress import Progress, terminal_progress
from mixedparts.records import Task

Scores = Mapping[str, float]
METRICS = {"strict mIoU": "miou_strict", "label F1": "label_f1"}


def scores(
    checkpoint: Path, dataset: Path, split: str, limit: int | None, triangles: int, told: Progress
) -> dict[str, float]:
    """Return all scores of a checkpoint on a dataset, in [0, 1].

    Args:
        checkpoint: the folder of a checkpoint.
        dataset: a build.
        split: whose samples are answered.
        limit: greatest number of them; None: all.
        triangles: of each task, at most.
        told: is told how far it has come.
    """
    model, config, tokenizer = load_checkpoint(checkpoint)
    test = BuiltDataset(dataset)
    metrics = evaluate_model(model, tokenizer, config, test, split, limit, progress=told)
    found = {
        f"{title} {task}": metrics[task][name] for title, name in METRICS.items() for task in Task
    }
    predictor = Predictor(model, config, tokenizer)
    for task, marks in other_image_marks(predictor, test, triangles, told).items():
        found[f"exact {task}"], found[f"choice {task}"] = marks.exact, marks.choice
    return found


def table(results: Mapping[str, Scores]) -> str:
    """Return the scores by dataset in percent as Markdown, with mean and range."""
    groups = [*METRICS, "exact", "choice"]
    lines = [f"| | {' | '.join(results)} | mean | range |", "|---|" + "---:|" * (len(results) + 2)]
    for group in groups:
        for task in TASKS if group in ("exact", "choice") else Task:
            name = f"{group} {task}"
            values = [100 * found[name] for found in results.values() if name in found]
            if len(values) == len(results):
                cells = [f"{value:.1f}" for value in values]
                cells += [f"{statistics.mean(values):.1f}", f"{max(values) - min(values):.1f}"]
                lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Score, print, and write where asked."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.preset_scores",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, metavar="DIR", help="a run, or a checkpoint")
    add("--test-dataset", type=Path, action="append", required=True, metavar="DIR", help="a build")
    add("--split", default="benchmark", help="default: benchmark")
    add("--limit", type=int, metavar="N", help="samples of the split (all)")
    add("--triangles", type=int, default=100, metavar="N", help="of each task at most (100)")
    add("--threads", type=int, default=2, metavar="N", help="default: 2")
    add("--name", default="preset_scores", help="of the section that is written")
    add("--note", default="", help="for the record: what else ran on the machine")
    add("--write", type=Path, metavar="FILE", help="put the table into this document")
    arguments = parser.parse_args(argv)
    return run_command(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    prepare_process(arguments.threads)
    told = terminal_progress()
    checkpoint = newest_checkpoint(arguments.checkpoint) or arguments.checkpoint
    results = {}
    for dataset in arguments.test_dataset:
        told.log(f"scoring {checkpoint} on {dataset}")
        results[dataset.name] = scores(
            checkpoint, dataset, arguments.split, arguments.limit, arguments.triangles, told
        )
    lines = [
        f"`python -m benchmarks.preset_scores --triangles {arguments.triangles}`:"
        f" {datetime.date.today().isoformat()}, {machine(('torch', 'transformers'))}."
        f" In percent. {arguments.note}".rstrip(),
        "",
        table(results),
    ]
    text = "\n".join(lines)
    print(text)
    if arguments.write is not None:
        write_section(arguments.write, f"benchmarks.{arguments.name}", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
