"""File names as annotation files write them: judged as text, then found below the source root."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

_FORBIDDEN = re.compile(r"[A-Za-z]:|.*[\\\x00-\x1f\x7f]", re.DOTALL)  # drives, \\, control


def safe_name(file_name: str) -> PurePosixPath | None:
    """Return a file name as a relative path that stays where it starts, or None.

    Judged by its text alone: links inside the source's folders are the owner's own arrangement.
    """
    if _FORBIDDEN.match(file_name):
        return None
    path = PurePosixPath(file_name)
    if path.is_absolute() or ".." in path.parts or not path.name:
        return None
    return path


def is_resource_fork(path: PurePosixPath) -> bool:
    """Tell the files that an archiver of macOS adds: they carry a picture's name and no picture."""
    return path.name.startswith("._") or "__MACOSX" in path.parts


def first_present(root: Path, candidates: Iterable[str]) -> str:
    """Return the first candidate (relative to `root`) that is a file, else the first of all."""
    first = ""
    for candidate in candidates:
        first = first or candidate
        if os.path.isfile(root / candidate):
            return candidate
    return first
