"""List the annotation files below a folder; repeat it only when a folder has changed."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from builders.formats.paths import is_resource_fork
from mixedparts.errors import InputError
from mixedparts.files.folders import Listing, walk_folders
from mixedparts.files.opening import is_there


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
        Paths relative to `root`, sorted; none if the folder is not there.

    Raises:
        InputError: a folder cannot be listed, or a link leads in a circle or nowhere.
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
    top = root / folder
    if not is_there(top):
        return _Listing({str(top): _changed(str(top))}, ())
    changed: dict[str, int] = {}
    files: list[str] = []
    for listing in walk_folders(top):
        changed[listing.path] = listing.changed
        base = PurePosixPath(folder, listing.inside)
        _check_links(listing)
        # Beside `<stem>.json`, the folder `<stem>` has a PNG for every instance of that image, and
        # no annotation file: it is not entered.
        names = [entry.name for entry in listing.files if entry.name.endswith(suffix)]
        stems = {name[: -len(suffix)] for name in names}
        listing.folders[:] = [
            name
            for name in listing.folders
            if name not in stems and not is_resource_fork(base / name)
        ]
        files += [str(base / name) for name in names if not is_resource_fork(base / name)]
    return _Listing(changed, tuple(sorted(files)))


def _check_links(listing: Listing) -> None:
    """Check that no link to a folder leads nowhere, such as into a disk that is not mounted.

    Raises:
        InputError: one does.
    """
    for entry in listing.files:
        # A file has a suffix; one that is not there is missed when its image is read.
        if "." not in entry.name and entry.is_symlink() and not os.path.exists(entry.path):
            raise InputError(
                f"the link {entry.path} leads to {os.readlink(entry.path)}, which is not there",
                "The files of that folder would be missing. Mount or restore it, or remove the"
                " link.",
            )


def _changed(path: str) -> int:
    try:
        return os.stat(path).st_ctime_ns
    except OSError:
        return -1
