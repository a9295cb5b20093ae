"""File names from annotation files and tables, checked as text before they become paths."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

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
    parts = path.parts
    # An absolute path has its root as first part; a path without a part has no name.
    if not parts or ".." in parts or parts[0][0] == "/":
        return None
    return path
