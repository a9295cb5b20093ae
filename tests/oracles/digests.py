"""What is in a folder, file by file."""

from __future__ import annotations

import hashlib
from pathlib import Path


def digests(folder: Path, but: str = "") -> dict[str, str]:
    """Return the SHA-256 of every file below a folder, but for those of one name."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != but
    }
