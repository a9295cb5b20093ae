"""`calico-predict`: ask a trained model about pictures, two by default."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from calico.cli.options import (
    add_device_option,
    add_search_options,
    positive,
    search_options,
)
from mixedparts.cli.running import run_command
from mixedparts.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

    from calico.predictions import Prediction

TASKS = ("common_object", "common_parts", "unique_parts")  # `Task`, without its imports
_EXAMPLES = """examples:
  calico-predict first.jpg second.jpg --checkpoint runs/tiny
  calico-predict first.jpg second.jpg --checkpoint runs/tiny --task unique_parts --out out
  calico-predict first.jpg second.jpg --checkpoint runs/tiny --question "What do they share?"
  calico-predict first.jpg second.jpg --checkpoint runs/tiny --num-beams 4
  calico-predict first.jpg second.jpg --checkpoint runs/tiny --device cuda:1

It writes to --out: overlay.png, prediction.json (masks as COCO RLE) and one PNG a mask."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    arguments = _parser().parse_args(argv)
    return run_command(lambda: _run(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="calico-predict",
        description="Answer a question about pictures, usually two, with a mask for every phrase.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("images", nargs="+", type=Path, metavar="IMAGE", help="picture files, usually two")
    add("--checkpoint", type=Path, required=True, metavar="DIR", help="what calico-train wrote")
    add("--task", choices=TASKS, default="common_parts", help="default: common_parts")
    add("--question", help="asked instead of the task's question")
    add("--out", type=Path, default=Path("prediction"), metavar="DIR", help="default: prediction")
    add_search_options(parser)
    add_device_option(parser)
    add("--threads", type=positive, metavar="N", help="CPU threads (default: all cores)")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    pictures = tuple(_open(path) for path in arguments.images)
    from calico.drawing import draw_prediction
    from calico.predict import Predictor, Query, task_question
    from calico.predictions import COUNTED
    from calico.runtime import prepare_process

    prepare_process(arguments.threads)
    predictor = Predictor.from_pretrained(arguments.checkpoint, arguments.device)
    predictor.configure(search_options(arguments))
    question = arguments.question or task_question(arguments.task)
    (prediction,) = predictor.predict([Query("prediction", question, pictures)])
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    draw_prediction(pictures, question, prediction).save(out / "overlay.png")
    _write_masks(out, arguments.images, question, prediction)
    print(prediction.answer)
    for segment in prediction.segments:
        print(f"  image {segment.image + 1}: {segment.label} ({segment.score:.2f})")
    if not prediction.segments:
        print("  the answer holds no mask")
    for name, meaning in COUNTED.items():
        if getattr(prediction, name):
            print(f"  {getattr(prediction, name)} {meaning}")
    print(f"written: {out / 'overlay.png'}, {out / 'prediction.json'}")
    return 0


def _open(path: Path) -> Image.Image:
    from calico.processing import open_picture

    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"the picture {path} cannot be read: {error.strerror}") from error
    return open_picture(data, str(path))


def _write_masks(out: Path, paths: Sequence[Path], question: str, prediction: Prediction) -> None:
    """Write each mask as a PNG (255 inside) and all of them as RLE in one JSON file."""
    from PIL import Image

    from calico.predictions import COUNTED
    from mixedparts.masks import decode

    segments = []
    for number, segment in enumerate(prediction.segments):
        word = "".join(letter if letter.isalnum() else "-" for letter in segment.label) or "region"
        name = f"mask-{number + 1:02d}-image{segment.image + 1}-{word}.png"
        Image.fromarray(decode(segment.mask) * 255).save(out / name)
        rle = {
            "size": [segment.mask.height, segment.mask.width],
            "counts": segment.mask.counts.decode(),
        }
        segments.append(
            {
                "label": segment.label,
                "image": segment.image,
                "score": round(segment.score, 4),
                "mask": rle,
                "file": name,
            }
        )
    answer = {
        "images": [str(path) for path in paths],
        "question": question,
        "answer": prediction.answer,
        **{name: getattr(prediction, name) for name in COUNTED},
        "segments": segments,
    }
    text = json.dumps(answer, indent=1, ensure_ascii=False) + "\n"
    (out / "prediction.json").write_text(text, encoding="utf-8")
