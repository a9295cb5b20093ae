"""`calico-predict`: ask a trained model questions about images, usually two at a time."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from calico.cli.options import (
    add_checkpoint_option,
    add_device_map_options,
    add_device_option,
    add_search_options,
    add_verify_option,
    check_output_folder,
    parallel,
    positive,
    read_device_map,
    search_options,
)
from mixedparts.errors import InputError, UsageError
from mixedparts.exit_codes import run_command
from mixedparts.settings.command_parser import CommandParser, add_common_options
from mixedparts.settings.local_paths import local_path

if TYPE_CHECKING:
    from calico.inference.predictor import Predictor

# The values of `Task`, written again: importing it would make --help slow.
TASKS = ("common_object", "common_parts", "unique_parts")
_EXAMPLES = """examples:
  calico-predict first.jpg second.jpg --checkpoint runs/tiny
  calico-predict first.jpg second.jpg --checkpoint runs/tiny --task unique_parts --out out
  calico-predict first.jpg second.jpg --checkpoint runs/tiny --question "What do they share?"
  calico-predict first.jpg second.jpg --checkpoint runs/tiny --num-beams 4
  calico-predict first.jpg second.jpg --checkpoint runs/tiny --device cuda:1
  calico-predict --pairs folder --checkpoint runs/tiny --out answers
  calico-predict --pairs pairs.csv --checkpoint runs/tiny --out answers

It writes to --out: overlay.png, prediction.json (masks as COCO RLE) and one PNG a mask. With
--pairs these go to --out/answers/ID, all answers to predictions.jsonl (docs/evaluation.md), and
what could not be answered to rejects.jsonl (exit code 1); the same command resumes.
Masks use the pixels as they are stored: EXIF orientation is not applied."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = _parser().parse_args(argv)
    return run_command(lambda: _run(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="calico-predict",
        description="Answer a question about images, usually two, with a mask for every phrase.",
        epilog=_EXAMPLES,
    )
    add = parser.add_argument
    add("images", nargs="*", type=local_path, metavar="IMAGE", help="image files, usually two")
    add(
        "--pairs",
        type=local_path,
        metavar="PLACE",
        help="instead of images: a folder with one sub-folder a set of images, or a .csv, .tsv"
        " or .jsonl file with image1, image2 and optionally id, task, question",
    )
    add_checkpoint_option(parser)
    add("--task", choices=TASKS, default="common_parts", help="question to ask (common_parts)")
    add("--question", help="asked instead of the task's question")
    add(
        "--out",
        type=local_path,
        default=Path("prediction"),
        metavar="DIR",
        help="folder to write (prediction)",
    )
    add_search_options(parser)
    add_device_option(parser)
    add_device_map_options(parser)
    add_verify_option(parser)
    add("--batch-size", type=positive, default=8, metavar="N", help="sets of --pairs at once (8)")
    add("--threads", type=parallel, metavar="N", help="CPU threads (all cores)")
    add_common_options(parser)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    if bool(arguments.images) == (arguments.pairs is not None):
        raise UsageError(
            "give either images, or --pairs with a folder or table of them",
            "For example: calico-predict a.jpg b.jpg --checkpoint runs/tiny",
        )
    check_output_folder(arguments.out)
    return _run_one(arguments) if arguments.images else _run_many(arguments)


def _run_one(arguments: argparse.Namespace) -> int:
    # Before the model is loaded, which takes seconds to minutes.
    for path in arguments.images:
        if not path.is_file():
            raise InputError(f"there is no image {path}")
    from calico.inference.answer import OVERLAY
    from calico.predictions.types import COUNTED

    answer = _predictor(arguments)(
        *arguments.images, task=arguments.task, question=arguments.question
    )
    answer.save(arguments.out, {"images": [str(path) for path in arguments.images]})
    print(answer.text)
    for segment in answer.segments:
        # The score is the mean probability inside the mask: above .5, or 0 where it is empty.
        empty = "" if segment.score else ", an empty mask"
        print(f"  image {segment.image + 1}: {segment.label} ({segment.score:.2f}{empty})")
    if not answer.segments:
        print("  the answer contains no mask")
    for name, meaning in COUNTED.items():
        if getattr(answer.prediction, name):
            print(f"  {getattr(answer.prediction, name)} {meaning}")
    print(f"written: {arguments.out / OVERLAY}, {arguments.out / 'prediction.json'}")
    return 0


def _run_many(arguments: argparse.Namespace) -> int:
    if arguments.question is not None:
        raise UsageError(
            "--question is for images given as arguments",
            "With --pairs, give questions in the column question of a table.",
        )
    from calico.checkpoints.digests import folder_digest
    from calico.checkpoints.save_load import find_checkpoint
    from calico.inference.batch import PREDICTIONS, REJECTS, predict_sets
    from calico.inference.image_sets import read_image_sets
    from mixedparts.progress import terminal_progress
    from mixedparts.records import Task

    # The table is read before the model is loaded: a mistake in it shows at once.
    sets = read_image_sets(arguments.pairs, Task(arguments.task))
    place = find_checkpoint(arguments.checkpoint)
    predictor = _predictor(arguments)
    # What decides the answers: a run goes on only with the same values.
    origin = {"checkpoint": folder_digest(place), "generation": search_options(arguments)}
    report = predict_sets(
        predictor,
        sets,
        arguments.out,
        origin,
        arguments.batch_size,
        terminal_progress(arguments.quiet),
    )
    print(f"answered: {report.answered}, answered before: {report.answered_before}")
    if report.rejected:
        print(f"rejected: {len(report.rejected)}, see {arguments.out / REJECTS}", file=sys.stderr)
    print(f"written: {arguments.out / PREDICTIONS}")
    # As a linter: 1 means that problems were found, and that everything else was done.
    return 1 if report.rejected else 0


def _predictor(arguments: argparse.Namespace) -> Predictor:
    from calico.inference.predictor import Predictor
    from calico.runtime.device import prepare_process

    spread = read_device_map(arguments)
    prepare_process(arguments.threads)
    predictor = Predictor.from_pretrained(
        arguments.checkpoint, arguments.device, arguments.verify, **spread
    )
    predictor.configure(search_options(arguments))
    return predictor
