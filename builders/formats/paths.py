"""File names as annotation files write them: checked as text, then searched below the root."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from stat import S_ISREG

import msgspec

from mixedparts.files.names import safe_name

__all__ = ["Found", "Places", "find_file", "is_resource_fork", "safe_name"]


def is_resource_fork(path: PurePosixPath) -> bool:
    """Return whether a path is a metadata file that macOS adds to archives."""
    # `._dog.jpg` has the suffix of an image and no image in it.
    return path.name.startswith("._") or "__MACOSX" in path.parts


class Places(msgspec.Struct, frozen=True, gc=False):
    """Where a file may be, relative to a folder.

    Attributes:
        exact: the place that the annotation and the layout name; empty if they name none.
        others: places to try if there is no file at `exact`.
    """

    exact: str
    others: tuple[str, ...] = ()


class Found(msgspec.Struct, frozen=True, gc=False):
    """The result of a search.

    Attributes:
        path: the file; the first place if there is no file at any.
        rival: another place whose file fits as well, "" if there is none.
        exact: whether `path` is the exact place, or there is no file.
    """

    path: str
    rival: str = ""
    exact: bool = True


def find_file(folder: Path, places: Places) -> Found:
    """Search the places of a file below a folder; the exact place takes precedence."""
    if places.exact and _status(os.path.join(folder, places.exact)):
        return Found(places.exact)
    present: dict[tuple[int, int], str] = {}
    for place in places.others:
        status = _status(os.path.join(folder, place))
        # Two paths to one file, by a link or without regard to case, are no two files.
        if status:
            present.setdefault(status, place)
    if not present:
        return Found(places.exact or places.others[0])
    path, *rivals = present.values()
    return Found(path, rivals[0] if rivals else "", exact=False)


def _status(path: str) -> tuple[int, int] | None:
    """Return device and inode of a file; None if there is no file."""
    try:
        status = os.stat(path)
    # A file that may not be looked at can be there. Opening it reports the fault; going on with
    # another place would be a guess.
    except PermissionError:
        return (-1, hash(path))
    except (OSError, ValueError):
        return None
    return (status.st_dev, status.st_ino) if S_ISREG(status.st_mode) else None
