"""Turn an expected failure of a command into one message and an exit code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable

from mixedparts.errors import MixedPartsError


def run_command(command: Callable[[], int]) -> int:
    """Run a command and return its exit code; print an expected failure to stderr.

    A `MixedPartsError` returns its own code, an interruption 130, a full disk or a missing
    permission 3. Other exceptions are bugs and propagate with their traceback.
    """
    try:
        return command()
    except MixedPartsError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of a pipe (`| head`) has closed it. Python flushes stdout at exit and would
        # print a second BrokenPipeError, so stdout is pointed at the null device.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        message = _environment_message(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        return 3


def _environment_message(error: OSError) -> str | None:
    """Return a message for a failure of the machine, None for a bug of this program."""
    where = f": {error.filename}" if error.filename else ""
    # A library may raise an OSError without errno for a full disk; then only the text has it.
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
        return f"no space left on the device{where}\nFree some space and run the command again."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"not allowed to read or write{where} ({error.strerror})"
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EIO, errno.EMFILE):
        return f"{error.strerror}{where}"
    return None
