"""List the folders that a user gives. A folder that cannot be listed is an error that names it.

`os.walk`, `glob` and `rglob` skip a folder that they may not open, so a source would lose its files
without a message.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mixedparts.errors import InputError
from mixedparts.files.opening import check_regular, reason

# A link that cannot be followed to its end is a link to a file that is not there.
_LEADS_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


@dataclass(frozen=True, slots=True)
class Listing:
    """The content of one folder.

    Attributes:
        path: the folder.
        inside: its path relative to the folder where the walk started, `.` for that one.
        changed: its time of change in nanoseconds, read before its content. Programs can restore
            the time of modification, but not this one.
        folders: names of the folders in it, sorted. A name that the caller removes is not entered.
        files: everything else, sorted by name. A link to a file that is not there is among them;
            its `stat()` raises OSError.
    """

    path: str
    inside: str
    changed: int
    folders: list[str]
    files: list[os.DirEntry[str]]


def list_folder(folder: str | Path) -> list[os.DirEntry[str]]:
    """Return the entries of a folder, sorted by name.

    Raises:
        InputError: the folder cannot be listed.
    """
    # File systems list names in any order.
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise _unlistable(str(folder), error) from None


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder or a link to one.

    Raises:
        InputError: a link leads into a folder that may not be entered.
    """
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno in _LEADS_NOWHERE:
            return False
        raise _unlistable(entry.path, error) from None


def check_plain_files(folder: str | Path) -> None:
    """Check that a folder has no pipe, device or dead link in it, for libraries that read it.

    Raises:
        InputError: it has one, or cannot be listed.
    """
    for entry in list_folder(folder):
        if is_folder(entry):
            continue
        try:
            check_regular(Path(entry.path))
        except OSError as error:
            raise InputError(f"{entry.path} {reason(Path(entry.path), error)}") from None


def walk_folders(top: str | Path) -> Iterator[Listing]:
    """Yield a folder and all folders below it, each before those in it, in the order of the names.

    Links to folders are followed: users link image folders instead of copying them.

    Raises:
        InputError: a folder cannot be listed, or a link leads back to a folder above it.
    """
    # Each entry: path, path relative to `top`, and identity and path of every folder above it.
    waiting: list[tuple[str, str, dict[tuple[int, int], str]]] = [(str(top), ".", {})]
    while waiting:
        path, inside, above = waiting.pop()
        try:
            status = os.stat(path)
        except OSError as error:
            raise _unlistable(path, error) from None
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            raise InputError(
                f"the link {path} leads back to {above[identity]}, a folder above it",
                "Remove the link: whatever is below it would be listed again without end.",
            )
        folders: list[str] = []
        files: list[os.DirEntry[str]] = []
        for entry in list_folder(path):
            if is_folder(entry):
                folders.append(entry.name)
            else:
                files.append(entry)
        yield Listing(path, inside, status.st_ctime_ns, folders, files)
        chain = {**above, identity: path}
        waiting += [
            (os.path.join(path, name), name if inside == "." else f"{inside}/{name}", chain)
            for name in reversed(folders)
        ]


def _unlistable(path: str, error: OSError) -> InputError:
    return InputError(
        f"the folder {path} cannot be listed: {error.strerror or error}",
        "What is in it would be missing from the result. Make it readable (ls -ld shows its"
        " permissions), or move it away.",
    )
