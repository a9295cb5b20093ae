"""Lists the annotation files below a folder once, and again only when a folder has changed."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from builders.formats.paths import is_resource_fork


class _Listing(NamedTuple):
    changed: dict[str, int]
    files: tuple[str, ...]


_known: dict[tuple[str, str, str], _Listing] = {}


def annotation_files(root: Path, folder: str, suffix: str) -> tuple[str, ...]:
    """Return the files of one suffix below a folder, sorted, relative to `root`.

    A folder named like an annotation file beside it holds that image's maps: it is not entered.
    The list is kept for as long as no folder that was entered has changed.
    """
    key = (str(root), folder, suffix)
    kept = _known.get(key)
    if kept is None or any(_changed(path) != when for path, when in kept.changed.items()):
        kept = _walk(root, folder, suffix)
        _known.clear()  # a process reads one source after the other
        _known[key] = kept
    return kept.files


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
        except OSError:  # gone, or closed to us
            continue
        own = {entry.name[: -len(suffix)] for entry in entries if entry.name.endswith(suffix)}
        for entry in entries:
            name = f"{current}/{entry.name}"
            if is_resource_fork(PurePosixPath(name)):
                continue
            if entry.is_dir():
                if entry.name not in own:
                    waiting.append(name)
            elif entry.name.endswith(suffix):
                files.append(name)
    return _Listing(changed, tuple(sorted(files)))


def _changed(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return -1
