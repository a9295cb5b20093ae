"""The folder that a command writes to: it is new or empty, or contains what the command wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mixedparts.errors import UsageError
from mixedparts.files.folders import list_folder
from mixedparts.settings.local_paths import check_local
from mixedparts.storage.leftovers import is_leftover

_HINT = "Choose another folder with --out."


def holds_earlier(out: Path, what: str, recognise: Callable[[Path], bool]) -> bool:
    """Check that a folder can be written to, and return whether an earlier output is in it.

    Args:
        out: the folder; it need not exist.
        what: name of the output in messages, such as `build`.
        recognise: returns whether a folder that is not empty contains such an output.

    Returns:
        True for an earlier output, False for a folder that is new or empty but for what a killed
        run left half-written.

    Raises:
        UsageError: `out` is a file, an address, or contains something else, which is never changed.
        InputError: the folder cannot be listed.
    """
    check_local(out)
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file", _HINT)
    # A run that was killed at its very start leaves one temporary file and nothing else.
    if not out.is_dir() or all(is_leftover(entry.name) for entry in list_folder(out)):
        return False
    if not recognise(out):
        raise UsageError(f"{out} is not empty and contains no {what}", _HINT)
    return True
