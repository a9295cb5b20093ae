"""Names of temporary files and folders, the same everywhere, so that leftovers are recognised."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def temporary_beside(target: Path) -> Path:
    """Return a new name for a temporary file or folder, in the folder of what it will become."""
    # The process id tells people whose it is. It is not enough: in containers that write to one
    # shared folder, the same program has the same id.
    return target.with_name(f".{target.name}.{os.getpid()}{secrets.randbelow(10**8):08d}.tmp")
