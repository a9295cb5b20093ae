"""List the annotation files below a folder; repeat it only when a folder has changed."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from builders.formats.paths import is_resource_fork


class _Listing(NamedTuple):
    """Files below a folder, and the time of change of each folder that was listed."""

    changed: dict[str, int]
    files: tuple[str, ...]


# Key: root, folder and suffix. A reader lists its files for every shard, and a source can have tens
# of thousands of them.
_listings: dict[tuple[str, str, str], _Listing] = {}


def annotation_files(root: Path, folder: str, suffix: str) -> tuple[str, ...]:
    """Return the files with one suffix below a folder.

    The list is cached until one of the listed folders changes.

    Args:
        root: folder that the source's layout starts from.
        folder: where to start, relative to `root`.
        suffix: end of the file names, such as `.json`.

    Returns:
        Paths relative to `root`, sorted.
    """
    key = (str(root), folder, suffix)
    listing = _listings.get(key)
    # A new, removed or renamed file changes the time of its folder, so files need no look.
    if listing is None or any(_changed(path) != when for path, when in listing.changed.items()):
        listing = _walk(root, folder, suffix)
        # A process reads one source after the other: one listing is enough.
        _listings.clear()
        _listings[key] = listing
    return listing.files


def _walk(root: Path, folder: str, suffix: str) -> _Listing:
    changed: dict[str, int] = {}
    files: list[str] = []
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        path = str(root / current)
        changed[path] = _changed(path)
        try:
            entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        # The folder was removed meanwhile, or may not be read.
        except OSError:
            continue
        # Beside `<stem>.json`, the folder `<stem>` has a PNG for every instance of that image, and
        # no annotation file: it is not entered.
        stems = {entry.name[: -len(suffix)] for entry in entries if entry.name.endswith(suffix)}
        for entry in entries:
            name = f"{current}/{entry.name}"
            if is_resource_fork(PurePosixPath(name)):
                continue
            if entry.is_dir():
                if entry.name not in stems:
                    waiting.append(name)
            elif entry.name.endswith(suffix):
                files.append(name)
    return _Listing(changed, tuple(sorted(files)))


def _changed(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return -1
