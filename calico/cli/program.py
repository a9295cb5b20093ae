"""`python -m calico`: all commands of CALICO by name, where their scripts are not on the path."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module

from mixedparts._version import __version__
from mixedparts.settings.command_parser import CommandParser

# Name of a command, as in `calico-NAME`, and the module that runs it.
COMMANDS = {
    "pretrain": "pretrain",
    "train": "train",
    "eval": "evaluate",
    "cost": "cost",
    "merge": "merge",
    "predict": "predict",
    "demo": "demo",
}
_EXAMPLES = """examples:
  python -m calico train --help
  python -m calico eval --dataset mixedparts --checkpoint runs/tiny"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first word names with the words after it.

    Args:
        argv: all words; None: those of the process.

    Returns:
        The exit code.
    """
    parser = CommandParser(
        prog="python -m calico",
        description="The commands of CALICO; `python -m calico train` is `calico-train`.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("--version", action="version", version=f"calico {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=", ".join(COMMANDS))
    # The words of the command, its options among them, are those of its own parser.
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="...")
    arguments = parser.parse_args(argv)
    command = import_module(f"calico.cli.{COMMANDS[arguments.command]}")
    code: int = command.main(arguments.words)
    return code
