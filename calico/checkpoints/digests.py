"""A digest of a checkpoint's files, which identifies it beside results."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mixedparts.errors import InputError
from mixedparts.files.folders import walk_folders


def folder_digest(folder: Path) -> str:
    """Return the SHA-256 of names and contents of all files in a folder, in hexadecimal.

    Raises:
        InputError: a file cannot be read, or a folder cannot be listed.
    """
    digest = hashlib.sha256()
    try:
        # Sorted, and by relative POSIX paths: a copy of the folder has the same digest anywhere.
        paths = [Path(file.path) for listing in walk_folders(folder) for file in listing.files]
        for path in sorted(path for path in paths if path.is_file()):
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    except OSError as error:
        raise InputError(f"the checkpoint {folder} cannot be read: {error}") from error
    return digest.hexdigest()
