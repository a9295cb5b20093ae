"""Declaration of a subcommand, with the same form of help for all of them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mixedparts.errors import UsageError
from mixedparts.settings.command_parser import CommandParser, add_common_options
from mixedparts.settings.local_paths import is_address, local_path, shown

ROOT_VARIABLE = "MIXEDPARTS_ROOT"
BUILD_HELP = "build folder, or an address such as s3://bucket/folder"


class VerbParser(CommandParser):
    """Parser of a subcommand, whose options can wait until the subcommand is chosen.

    Options that are made from a configuration need its modules, and `mixedparts --help` must not
    import them.
    """

    add_options: Callable[[argparse.ArgumentParser], None] | None = None

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Add the options that waited, then parse; `argparse` calls this for the chosen one only.

        Args:
            args: the words after the subcommand.
            namespace: gets the values.

        Returns:
            The values, and an empty list: words that no option takes end the program.
        """
        if self.add_options is not None:
            waiting, self.add_options = self.add_options, None
            waiting(self)
        values, unknown = super().parse_known_args(args, namespace)
        # Here and not in the parser of `mixedparts`, which does not know the subcommand's options.
        self.refuse(unknown)
        return values, []


def add_verb(
    verbs: Any,
    name: str,
    run: Callable[[argparse.Namespace], int],
    text: str,
    example: str,
) -> VerbParser:
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
    parser: VerbParser = verbs.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=f"examples:\n{example}",
    )
    add_common_options(parser, program=False)
    # `main` calls this function with the parsed arguments.
    parser.set_defaults(verb=run)
    return parser


def add_root(parser: argparse.ArgumentParser) -> None:
    """Add the option `--root`, whose value `sources_folder` completes."""
    text = f"sources' folder (./sources, ${ROOT_VARIABLE})"
    parser.add_argument("--root", type=local_path, metavar="DIR", help=text)


def sources_folder(given: Path | None) -> Path:
    """Return the folder of the sources: the flag, else `MIXEDPARTS_ROOT`, else `./sources`.

    Raises:
        UsageError: `MIXEDPARTS_ROOT` is an address.
    """
    # An empty variable counts as one that is not set.
    folder = given or Path(os.environ.get(ROOT_VARIABLE) or "sources")
    if is_address(folder):
        raise UsageError(
            f"{ROOT_VARIABLE} is the address {shown(folder)}, which only `mixedparts build` reads",
            "Name a local folder with --root.",
        )
    return folder
