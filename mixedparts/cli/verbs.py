"""Declaration of a subcommand, with the same form of help for all of them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any


def add_verb(
    verbs: Any, name: str, run: Callable[[argparse.Namespace], int], text: str, example: str
) -> argparse.ArgumentParser:
    """Add a subcommand.

    Args:
        verbs: the result of `ArgumentParser.add_subparsers`.
        name: name of the subcommand.
        run: function that runs it and returns the exit code.
        text: what it does, in lower case and without a period.
        example: example commands, one a line, indented by two spaces.

    Returns:
        The parser of the subcommand, for its options.
    """
    # The raw formatter keeps the line breaks of the examples.
    parser: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=f"examples:\n{example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(verb=run)
    return parser
