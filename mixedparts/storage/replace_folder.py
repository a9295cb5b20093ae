"""Put a finished folder in the place of an older one, which is never gone before that.

On Linux the two folders change their names in one step of the system. Elsewhere, and on file
systems without that step, the older one is set aside for a moment; a run that was killed in that
moment is completed by the next one.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from pathlib import Path

_AT_FDCWD = -100
_EXCHANGE = 2  # RENAME_EXCHANGE of Linux's renameat2(2)


def staging_folder(out: Path) -> Path:
    """Return the folder beside `out` in which its next content is written."""
    # On the same file system, where a rename is one step. One name and not one for each process:
    # the lock of `out` admits one writer, and the next run finds what a killed one left.
    return _beside(out, "new")


def _aside(out: Path) -> Path:
    return _beside(out, "old")


def _beside(out: Path, suffix: str) -> Path:
    # Resolved: `.` and `..` have no name, and what is beside a link may be on another file system.
    real = out.resolve()
    return real.parent / f".{real.name}.{suffix}"


def replace_folder(fresh: Path, out: Path) -> Path | None:
    """Rename `fresh` to `out`.

    Args:
        fresh: a finished folder on the same file system.
        out: the name that it gets; a folder of that name is replaced as a whole.

    Returns:
        Where the replaced folder is now, for the caller to remove; None if there was none.
    """
    out = out.resolve()
    if not out.exists():
        fresh.rename(out)
        return None
    if _exchanged(fresh, out):
        return fresh
    old = _aside(out)
    shutil.rmtree(old, ignore_errors=True)
    out.rename(old)
    fresh.rename(out)
    return old


def recover(out: Path) -> None:
    """Complete what a killed run left of a replacement; call it with the lock of `out` held."""
    old = _aside(out)
    if old.is_dir():
        if out.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(out)


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange the names of two folders in one step; return whether the system could."""
    if sys.platform != "linux":
        return False
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    paths = os.fsencode(one), os.fsencode(other)
    return bool(rename(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _EXCHANGE) == 0)
