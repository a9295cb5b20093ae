"""The argument parser of every command: common options, completion, and suggestions of names.

Heavy imports wait until an option needs them: a parser is built for `--help` too.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mixedparts._version import __version__
from mixedparts.errors import near_names
from mixedparts.exit_codes import TRACEBACK_VARIABLE
from mixedparts.settings.completion import SHELLS, PrintCompletion

_LOG = logging.getLogger(__name__)
_LOGGERS = ("mixedparts", "builders", "calico")
# Variables that switch off the progress bars of `datasets` and `huggingface_hub`.
_BARS = ("HF_DATASETS_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_PROGRESS_BARS")


class CommandParser(argparse.ArgumentParser):
    """Parser with examples in its help, which suggests names for misspelt choices and options.

    Attributes:
        names: name of an argument -> function that returns its words, for completion in a shell.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # The raw formatter keeps the line breaks of the examples.
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **kwargs)
        self.names: dict[str, Callable[[], Iterable[str]]] = {}

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Parse all words, and set up logging as -v and -q ask.

        Args:
            args: the words; None: those of the process.
            namespace: gets the values.

        Returns:
            The values.
        """
        values, unknown = self.parse_known_args(args, namespace)
        self.refuse(unknown)
        set_up_logging(getattr(values, "verbose", 0))
        if getattr(values, "quiet", False):
            # Read when the libraries are imported, which is later than this.
            os.environ.update(dict.fromkeys(_BARS, "1"))
        return values

    def refuse(self, unknown: Sequence[str]) -> None:
        """End with a usage error if there are words that no option takes."""
        if not unknown:
            return
        option = next((word for word in unknown if word.startswith("--")), "")
        known = sorted(name for name in self._option_string_actions if name.startswith("--"))
        near = near_names(option.partition("=")[0], known) if option else ""
        self.error(f"unrecognized arguments: {' '.join(unknown)}{near}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Check a value against the choices of its option; argparse calls this."""
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            near = near_names(str(value), [str(choice) for choice in action.choices or ()])
            raise argparse.ArgumentError(action, f"{error.message}{near}") from None


def add_common_options(parser: argparse.ArgumentParser, program: bool = True) -> None:
    """Add the options that every command has.

    Args:
        parser: of the command.
        program: also add those of `add_program_options`; a subcommand leaves completion to its
            program.
    """
    group = parser.add_argument_group("options of every command")
    group.add_argument("-q", "--quiet", action="store_true", help="no progress")
    group.add_argument(
        "-v",
        "--verbose",
        action="count",
        default=0,
        help="log to stderr what is done; -vv: in detail, and the traceback of a bug",
    )
    if program:
        add_program_options(parser)
    else:
        _add_version(parser)


def add_program_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that print something about the program and end it."""
    _add_version(parser)
    parser.add_argument(
        "--print-completion",
        action=PrintCompletion,
        choices=SHELLS,
        help='print completion for a shell: eval "$(%(prog)s --print-completion bash)"',
    )


def _add_version(parser: argparse.ArgumentParser) -> None:
    program = parser.prog.partition(" ")[0]
    parser.add_argument("--version", action="version", version=f"{program} {__version__}")


def set_up_logging(verbosity: int) -> None:
    """Log to stderr: warnings; with 1 also what is done, with 2 details and tracebacks.

    Args:
        verbosity: how often -v was given.
    """
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbosity, 2)]
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(level)
    if verbosity:
        logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S")
        _LOG.info("mixedparts %s, Python %s", __version__, platform.python_version())
    if verbosity > 1:
        os.environ[TRACEBACK_VARIABLE] = "1"
