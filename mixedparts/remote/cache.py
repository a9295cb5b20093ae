"""Local folders that belong to an address, below the user's cache folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mixedparts.errors import EnvironmentFault
from mixedparts.files.cache import CACHE, cache_folder

_FOLDER = "remote"


def folder_of(address: str, what: str) -> Path:
    """Return a local folder for what belongs to an address; it may not exist.

    Args:
        address: without a slash at its end.
        what: name of the folder, such as `scratch-` and a build id.

    Raises:
        EnvironmentFault: the user has no home folder.
    """
    digest = hashlib.sha256(address.encode()).hexdigest()[:16]
    last = "".join(c if c.isalnum() or c in "-_." else "-" for c in address.rpartition("/")[2])
    try:
        return cache_folder() / _FOLDER / f"{digest}-{last[:40]}" / what
    except OSError as error:
        raise EnvironmentFault(
            f"{address} needs a local folder for its files: {error}",
            f"Name one with {CACHE}=DIR in the environment.",
        ) from None


def is_copy(path: Path) -> bool:
    """Return whether a path is in a local folder that belongs to an address."""
    try:
        return path.is_relative_to(cache_folder() / _FOLDER)
    except OSError:
        return False
