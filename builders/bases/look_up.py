"""Find the files of a record: the exact place, else the only file that no other record fits.

A fallback to another place is used only if it is no guess. Whether another record of the annotation
file ends at the same file depends on all of its records, so the records of similar names are looked
at, but only after a fallback: the exact paths of a valid source need none of this.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from builders.bases.coco_index import CocoIndex
from builders.formats.paths import Places, find_file, safe_name

PlacesOf = Callable[[PurePosixPath], Places]
"""Returns the places of a file for the `file_name` of a record."""


class Located(NamedTuple):
    """A file of a record.

    Attributes:
        path: relative to the folder of the search; the first place if there is no file.
        clash: why the file cannot be assigned to the record; empty if it can.
    """

    path: str
    clash: str = ""


def locate(folder: Path, index: CocoIndex, name: PurePosixPath, places_of: PlacesOf) -> Located:
    """Find the file of a record without guessing.

    Args:
        folder: folder that the places are relative to.
        index: index of the record's annotation file.
        name: `file_name` of the record.
        places_of: returns the places of a record's file.

    Returns:
        The exact place if it has a file; else the only other place with a file, unless another
        record ends at the same file.
    """
    places = places_of(name)
    found = find_file(folder, places)
    if found.exact:
        return Located(found.path)
    missing = f"{places.exact} is not there; " if places.exact else f"{name} has no folder; "
    if found.rival:
        return Located(found.path, f"{missing}both {found.path} and {found.rival} fit")
    for record_id, other in _namesakes(index, name):
        others = places_of(other)
        if found.path not in (others.exact, *others.others):
            continue
        theirs = find_file(folder, others)
        if theirs.path == found.path and not theirs.rival:
            return Located(
                found.path, f"{missing}{found.path} fits image {record_id} ({other}) as well"
            )
    return Located(found.path)


def _namesakes(index: CocoIndex, name: PurePosixPath) -> list[tuple[str, PurePosixPath]]:
    """Return id and name of the other images whose file names have the same last component."""
    others = []
    for record_id, file_name in index.namesakes(name.name):
        other = safe_name(file_name)
        # A record of the same file name is a duplicate, which the index knows.
        if other is not None and other != name:
            others.append((record_id, other))
    return others
