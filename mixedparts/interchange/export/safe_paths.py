"""Paths that an export makes of texts in a build: none leaves its folder, none is read elsewhere.

A build can come from anywhere, and its rows can hold any text.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mixedparts.errors import InputError
from mixedparts.files.names import safe_name

_HINT = "No build of this program holds such a name; check where this one comes from."


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


def referenced_file(path: str, source: str, roots: Mapping[str, str]) -> Path:
    """Return the file of an image that a build refers to.

    Args:
        path: from a row of `images`.
        source: from the same row.
        roots: source -> folder of its files, from the configuration of the build.

    Returns:
        The path, which is not resolved: users link image folders into a root.

    Raises:
        InputError: the file is not below the folder of its source.
    """
    file, root = Path(path), roots.get(source)
    if root is None or ".." in file.parts or not file.is_relative_to(root):
        raise InputError(
            f"a row of the build names the image {path}, which is not below the folder of its"
            f" source {source} ({root or 'unknown'})",
            "Check where the build comes from, or build again with --images embed.",
        )
    return file
