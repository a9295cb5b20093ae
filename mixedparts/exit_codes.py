"""One place that turns expected failures into one message and an exit code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable

from mixedparts.errors import MixedPartsError


def run_command(command: Callable[[], int]) -> int:
    """Run a command; expected failures become one message on stderr and an exit code."""
    try:
        return command()
    except MixedPartsError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        told = _environment(error)
        if told is None:
            raise
        print(f"error: {told}", file=sys.stderr)
        return 3


def _environment(error: OSError) -> str | None:
    """Return a sentence for what the machine refused, None for what is a fault of ours."""
    where = f": {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
        return f"no space left on the device{where}\nFree some space and run the command again."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"not allowed to read or write{where} ({error.strerror})"
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EIO, errno.EMFILE):
        return f"{error.strerror}{where}"
    return None
