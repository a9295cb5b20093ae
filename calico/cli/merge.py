"""`calico-merge`: write a stand-alone checkpoint, which needs no published weights."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from calico.cli.options import add_verify_option
from mixedparts.exit_codes import run_command
from mixedparts.settings.command_parser import CommandParser, add_common_options
from mixedparts.settings.local_paths import local_path

_EXAMPLES = """examples:
  calico-merge runs/calico --out calico-7b
  calico-predict a.jpg b.jpg --checkpoint calico-7b"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = _parser().parse_args(argv)
    return run_command(lambda: _run(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="calico-merge",
        description="Merge the adapters of a checkpoint into its language model and write all"
        " weights, so that the result needs no published weights.",
        epilog=_EXAMPLES,
    )
    add = parser.add_argument
    add("checkpoint", type=local_path, metavar="CHECKPOINT", help="checkpoint of calico-train")
    add("--out", type=local_path, required=True, metavar="DIR", help="new folder")
    add_verify_option(parser)
    add_common_options(parser)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    from calico.checkpoints.merge import merge_checkpoint

    folder = merge_checkpoint(arguments.checkpoint, arguments.out, arguments.verify)
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"stand-alone checkpoint: {folder} ({size / 2**30:.2f} GiB)")
    return 0
