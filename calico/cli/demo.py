"""`calico-demo`: a page on this machine that asks a trained model about images."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from calico.cli.options import (
    add_checkpoint_option,
    add_device_map_options,
    add_device_option,
    add_search_options,
    add_verify_option,
    parallel,
    read_dataset,
    read_device_map,
    search_options,
)
from mixedparts.errors import missing_package
from mixedparts.exit_codes import run_command
from mixedparts.settings.command_parser import CommandParser, add_common_options

if TYPE_CHECKING:
    from pathlib import Path

    from calico.dataset.pairs import BuiltDataset
    from calico.demo.examples import Examples

_PORT = 7860
_EXAMPLES = """examples:
  calico-demo --checkpoint runs/tiny
  calico-demo --checkpoint runs/tiny --dataset data/mixedparts --port 8000

It prints the address of the page, http://127.0.0.1:7860/, and runs until Ctrl+C. Only programs on
this machine reach it, and it sends no requests to other machines. Uploads and answers are in a
temporary folder, which is deleted at the end. It needs the extra: pip install 'mixedparts[demo]'"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = _parser().parse_args(argv)
    return run_command(lambda: _run(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="calico-demo",
        description="Show a page in which a trained model answers questions about two images.",
        epilog=_EXAMPLES,
    )
    add = parser.add_argument
    add_checkpoint_option(parser)
    add(
        "--dataset",
        default=None,
        metavar="NAME",
        help="build folder, or 'mixedparts', whose samples are the examples (synthetic images,"
        " drawn at the start)",
    )
    add(
        "--port",
        type=_port,
        default=_PORT,
        metavar="N",
        help="port on 127.0.0.1; 0: any free one (7860)",
    )
    add_search_options(parser)
    add_device_option(parser)
    add_device_map_options(parser)
    add_verify_option(parser)
    add("--threads", type=parallel, metavar="N", help="CPU threads (all cores)")
    add_common_options(parser)
    return parser


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"must be from 0 to 65535, not {value}")
    return value


def _run(arguments: argparse.Namespace) -> int:
    # Before the model is loaded, which takes seconds to minutes.
    dataset = None if arguments.dataset is None else read_dataset(arguments)
    spread = read_device_map(arguments)
    try:
        from calico.demo.answering import Answering
        from calico.demo.page import build_page
        from calico.demo.server import serve_page, workspace
    except ImportError as error:
        raise missing_package(error, "calico-demo", "demo") or error from error
    from calico.inference.predictor import Predictor
    from calico.runtime.device import prepare_process

    prepare_process(arguments.threads)
    predictor = Predictor.from_pretrained(
        arguments.checkpoint, arguments.device, arguments.verify, **spread
    )
    predictor.configure(search_options(arguments))
    with workspace() as folder:
        answering = Answering(predictor, folder, arguments.threads)
        examples = _examples(dataset, folder, answering.most_images)
        page = build_page(answering, examples, str(arguments.checkpoint))
        # Flushed: a program that starts the demo waits for this line.
        serve_page(
            page, arguments.port, lambda address: print(f"{address}  (Ctrl+C ends it)", flush=True)
        )
    return 0


def _examples(dataset: BuiltDataset | None, folder: Path, most_images: int) -> Examples:
    from calico.demo.examples import dataset_examples, drawn_examples

    if dataset is None:
        return drawn_examples(folder)
    return dataset_examples(dataset, folder, most_images)
