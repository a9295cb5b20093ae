"""`calico-pretrain`: pretrain encoders for a model without published weights."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from calico.cli.launch import launched, prints_output
from calico.cli.options import add_run_options, read_options
from calico.pretraining.stages_folder import check_absent
from mixedparts.errors import UsageError
from mixedparts.exit_codes import run_command
from mixedparts.settings.command_parser import CommandParser
from mixedparts.settings.local_paths import local_path

_EXAMPLES = """examples:
  calico-pretrain --dataset mixedparts --output-dir runs/encoders
  calico-train --dataset mixedparts --encoders runs/encoders --output-dir runs/tiny"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    # Worker processes get the same command line.
    words = sys.argv[1:] if argv is None else list(argv)
    arguments = _parser().parse_args(words)
    return run_command(lambda: _run(arguments, words))


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="calico-pretrain",
        description="Pretrain the image encoders, SAM's mask decoder and the Q-Former on the single"
        " images of a dataset's train split, with their labels and masks.",
        epilog=_EXAMPLES,
    )
    add_run_options(parser)
    parser.add_argument(
        "--output-dir",
        type=local_path,
        default=Path("runs/encoders"),
        help="folder to write (runs/encoders)",
    )
    return parser


def _run(arguments: argparse.Namespace, words: Sequence[str]) -> int:
    config, dataset = read_options(arguments)
    if config.pretraining.steps == 0:
        raise UsageError(f"the configuration '{config.name}' has pretraining.steps 0")
    folder: Path = arguments.output_dir
    check_absent(folder)
    if arguments.dry_run:
        chosen = config.pretraining
        print(f"{len(dataset.pairs('train'))} samples of the train split of {dataset.path}")
        print(
            f"{chosen.steps} steps of the global encoder, {chosen.semantic_steps} of the semantic"
        )
        print(f"{chosen.mask_steps} of SAM's parts, {chosen.qformer_steps} of the Q-Former")
        return 0
    # torch is imported inside: the number of its threads is set first.
    with launched(config, arguments, "calico.cli.pretrain", words) as progress:
        from calico.pretraining.pretrain import pretrain
        from calico.runtime.distributed import build_accelerator

        pretrain(config, dataset, folder, progress, build_accelerator(arguments.device))
    if prints_output():
        print(f"encoders: {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
