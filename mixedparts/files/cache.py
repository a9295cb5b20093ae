"""This project's folder in the user's cache folder."""

from __future__ import annotations

import os
from pathlib import Path

CACHE = "MIXEDPARTS_CACHE"
"""Environment variable of another place for the folder."""


def cache_folder() -> Path:
    """Return this project's folder in the user's cache folder; it may not exist.

    `$MIXEDPARTS_CACHE`, else `mixedparts` in `$XDG_CACHE_HOME`, else `~/.cache/mixedparts`.

    Raises:
        OSError: the user has no home folder, as in some containers.
    """
    if place := os.environ.get(CACHE):
        return Path(place).absolute()
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mixedparts"
    except RuntimeError as error:
        raise OSError(str(error)) from None
