"""The one place that turns exceptions of a command into a message and an exit code.

Nothing is imported at the top but what Python has loaded already: an interruption while modules are
imported ends in one line too.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WAITING = 4
"""A run of a shard range has done its share, and other shares are not done."""
INTERRUPTED = 130
TRACEBACK_VARIABLE = "MIXEDPARTS_TRACEBACK"
"""Set to 1 in the environment, it shows the traceback of an unexpected error."""


def start_command(module: str, argv: Sequence[str] | None = None) -> int:
    """Import the module of a command, call its function `main`, and return the exit code.

    Args:
        module: dotted name.
        argv: the arguments; None: those of the process.
    """

    def command() -> int:
        from importlib import import_module

        code: int = import_module(module).main(argv)
        return code

    return run_command(command)


def run_command(command: Callable[[], int]) -> int:
    """Run a command and return its exit code; print a failure to stderr as one message.

    A `MixedPartsError` returns its own code, an interruption 130, a full disk, a missing permission
    or a missing package 3. Any other exception is a bug and returns 1; the message names its place.
    """
    try:
        _print_any_text()
        try:
            code = command()
        except SystemExit:  # argparse has printed its help or a usage error
            _flush_output()
            raise
        _flush_output()
        return code
    except KeyboardInterrupt:
        _report("interrupted; run the same command again to continue")
        return INTERRUPTED
    except BrokenPipeError:
        _discard_output()  # the reader of a pipe (`| head`) has closed it
        return 0
    except Exception as error:
        message, code = failure_message(error)
        _report(f"error: {message}")
        if os.environ.get(TRACEBACK_VARIABLE):
            import traceback

            traceback.print_exception(error)
        return code


def _report(message: str) -> None:
    """Print a line to stderr; the exit code stays the same where that cannot be written."""
    try:
        print(message, file=sys.stderr, flush=True)
    except OSError:
        return


def _print_any_text() -> None:
    """Let stdout print names that its encoding lacks, with escapes, as stderr does."""
    # Names of files can have bytes that are not UTF-8, and terminals can have small encodings.
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _flush_output() -> None:
    """Write what stdout has buffered, while a full disk or a closed pipe can still be reported."""
    if sys.stdout is None:  # closed by the caller (`>&-`)
        return
    try:
        sys.stdout.flush()
    except OSError:
        _discard_output()
        raise


def _discard_output() -> None:
    """Point stdout at the null device: Python flushes it at exit and would fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def failure_message(error: Exception) -> tuple[str, int]:
    """Return the message for people and the exit code of an exception."""
    from mixedparts.errors import MixedPartsError, missing_package

    if isinstance(error, MixedPartsError):
        return str(error), error.exit_code
    if isinstance(error, ModuleNotFoundError) and (fault := missing_package(error)):
        return str(fault), fault.exit_code
    if _disk_is_full(error):
        name = getattr(error, "filename", None)
        return (
            f"no space left on the device{f': {name}' if name else ''}\n"
            "Free some space and run the command again.",
            3,
        )
    if isinstance(error, OSError) and (text := _environment_message(error)):
        return text, 3
    if isinstance(error, MemoryError):
        return "memory ran out\nUse fewer workers or smaller batches, or a larger machine.", 3
    return _bug(error), 1


def _disk_is_full(error: Exception) -> bool:
    """Return whether an exception, of any library, was raised because the disk is full."""
    import errno
    import re

    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    # Libraries in other languages raise their own types (safetensors), and NumPy an OSError that
    # only counts the values it could write. Then only the text shows the cause.
    text = str(error)
    short = isinstance(error, OSError) and re.fullmatch(r"\d+ requested and \d+ written", text)
    return "No space left on device" in text or "Disk quota exceeded" in text or bool(short)


def _environment_message(error: OSError) -> str | None:
    """Return a message for a failure of the machine, None for a bug of this program."""
    import errno

    where = f": {error.filename}" if error.filename else ""
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"not allowed to read or write{where} ({error.strerror})"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return f"too many open files{where}\nAllow more, for example with: ulimit -n 4096"
    # Every other number is the system's answer to a path or a device: a name that is too long, a
    # loop of links, a folder where a file was expected, an error of the disk.
    return f"{error.strerror}{where}" if error.errno is not None and error.strerror else None


def _bug(error: Exception) -> str:
    """Return the message for an unexpected exception, with the place it comes from."""
    from pathlib import Path

    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    at = ""
    if place is not None:
        at = f" ({Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno})"
    text = str(error).strip() or "no further text"
    return (
        f"unexpected {type(error).__name__}: {text}{at}\n"
        f"This is a fault of the program. Set {TRACEBACK_VARIABLE}=1 to see where, and report it."
    )
