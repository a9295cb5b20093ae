"""Which checkpoint made a result: a digest of its files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mixedparts.errors import InputError


def folder_digest(folder: Path) -> str:
    """Return a sha256 over names and contents of all files in a folder, as hex.

    Raises:
        InputError: a file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    except OSError as error:
        raise InputError(f"the checkpoint {folder} cannot be read: {error}") from error
    return digest.hexdigest()
