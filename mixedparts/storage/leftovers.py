"""Temporary files and folders that a killed process left half-written.

They have the name of what they would have become, a number and `.tmp`, after a dot
(`mixedparts.files.temporary`). Files of a user that look alike but for the number stay.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from mixedparts.files.folders import list_folder

_LEFTOVER = re.compile(r"\.(?:(.+)\.)?[0-9]+\.tmp", re.DOTALL)


def is_leftover(entry: str, name: str | None = None) -> bool:
    """Return whether an entry of a folder has the name of a temporary file of ours.

    Args:
        entry: name of the entry.
        name: of the file or folder that it would have become; None: any.
    """
    match = _LEFTOVER.fullmatch(entry)
    return match is not None and name in (None, match[1])


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove temporary files and folders that lie directly in a folder.

    The caller holds the lock of what is written there: without it they may belong to a process that
    is still at work.

    Args:
        folder: need not exist.
        name: of the file or folder that they would have become; None: any.

    Raises:
        InputError: the folder cannot be listed.
    """
    if not folder.is_dir():
        return
    for entry in list_folder(folder):
        if not is_leftover(entry.name, name):
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            Path(entry.path).unlink()
