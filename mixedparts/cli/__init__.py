"""The `mixedparts` command: one module for each subcommand, or for a few related ones.

Each module has `add_*` functions that declare a subcommand. Heavy imports are inside the functions
that run one, so that `--help` answers in less than 0.3 s.
"""

from __future__ import annotations

import sys

from mixedparts.exit_codes import start_command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line, and end the process with its exit code.

    Args:
        argv: the arguments; None: those of the process.
    """
    # The parser and its modules are imported inside, where Ctrl-C ends in one line.
    sys.exit(start_command("mixedparts.cli.program", argv))
