"""File names as annotation files write them: checked as text, then searched below the root."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

# A drive at the start; a backslash or a control character anywhere. Drives and backslashes belong
# to paths on Windows only, so such a name would mean another file there.
_FORBIDDEN = re.compile(r"[A-Za-z]:|.*[\\\x00-\x1f\x7f]", re.DOTALL)


def safe_name(file_name: str) -> PurePosixPath | None:
    """Return a file name as a relative path that stays below its folder, else None."""
    # The check reads the text only and does not resolve links: people link image folders into a
    # source root, and a link is not under the control of the annotation file.
    if _FORBIDDEN.match(file_name):
        return None
    path = PurePosixPath(file_name)
    if path.is_absolute() or ".." in path.parts or not path.name:
        return None
    return path


def is_resource_fork(path: PurePosixPath) -> bool:
    """Return whether a path is a metadata file that macOS adds to archives."""
    # `._dog.jpg` has the suffix of an image and no image in it.
    return path.name.startswith("._") or "__MACOSX" in path.parts


def first_present(root: Path, candidates: Iterable[str]) -> str:
    """Return the first candidate (relative to `root`) that is a file, else the first candidate."""
    # The first one is then the path that the reject of a missing file names.
    first = ""
    for candidate in candidates:
        first = first or candidate
        if os.path.isfile(root / candidate):
            return candidate
    return first
