"""Paths that an export makes of texts in a build: none leaves its folder, none is read elsewhere.

A build can come from anywhere, and its rows can hold any text.
"""

from __future__ import annotations

from pathlib import Path

from mixedparts.errors import InputError
from mixedparts.files.names import safe_name

_HINT = "No build of this program contains such a name; check where this build comes from."


def inside(out: Path, name: str) -> Path:
    """Return the path of a file below the folder of an export.

    Args:
        out: the folder.
        name: relative POSIX path, made of texts in rows.

    Raises:
        InputError: the name would lead out of the folder, or is the name of no file.
    """
    path = safe_name(name)
    if path is None:
        raise InputError(f"a row of the build names a file {name!r}, which is not safe", _HINT)
    return out / path


def member(name: str) -> str:
    """Return a text of a row that becomes the name of a member of an archive.

    Raises:
        InputError: unpacking such a member would write to another folder.
    """
    if "/" in name:
        raise InputError(f"a row of the build has the id {name!r}, which is not safe", _HINT)
    inside(Path(), name)
    return name
