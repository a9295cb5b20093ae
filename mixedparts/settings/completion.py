"""Shell completion of a whole program: options, choices, names, files and folders."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn

from mixedparts.errors import EnvironmentFault, missing_package
from mixedparts.settings.local_paths import local_path, place

SHELLS = ("bash", "zsh", "tcsh")
_FOLDERS = ("DIR", "CHECKPOINT")  # names of values in the help
_FILES = ("FILE", "auto|FILE")

Names = Mapping[str, Callable[[], Iterable[str]]]
"""Name of an argument -> function that returns the words it takes."""


class PrintCompletion(argparse.Action):
    """Prints the completion script of the whole program, then exits."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> NoReturn:
        """Print the script for the shell that the option names."""
        try:
            import shtab
        except ImportError as error:
            raise missing_package(error) or EnvironmentFault(str(error)) from None
        names: Names = getattr(parser, "names", {})
        for one in _with_subcommands(parser):
            # Options that wait until their subcommand is chosen are needed now.
            waiting, one.add_options = getattr(one, "add_options", None), None  # type: ignore[attr-defined]
            if waiting is not None:
                waiting(one)
            for action in one._actions:
                _describe(action, names)
        print(shtab.complete(parser, shell=values))
        sys.exit(0)


def _describe(action: argparse.Action, names: Names) -> None:
    """Tell shtab what the value of an argument is; without that it completes no file name."""
    import shtab

    if action.nargs == 0 or action.choices is not None:
        return
    if action.dest in names:
        # The program ends after the script: nobody is refused another name.
        action.choices = list(names[action.dest]())
    elif action.metavar in _FOLDERS or action.dest in ("dataset", "output_dir"):
        action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    elif action.metavar in _FILES or action.type in (local_path, place):
        action.complete = shtab.FILE  # type: ignore[attr-defined]


def _with_subcommands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield a parser and the parsers of all of its subcommands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield from _with_subcommands(one)
