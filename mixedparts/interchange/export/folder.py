"""The target folder of an export: which content may be replaced, and its atomic replacement."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mixedparts.errors import UsageError
from mixedparts.files.text import read_own_json
from mixedparts.interchange.bundle_import.layout import MARK
from mixedparts.storage.replace_folder import recover, replace_folder, staging_folder
from mixedparts.storage.target_folder import holds_earlier


def stored_identity(out: Path) -> dict[str, Any] | None:
    """Return the identity of the export in a folder; None if the folder contains no export."""
    mark = read_own_json(out / MARK)
    value = mark.get("identity") if isinstance(mark, dict) else None
    return value if isinstance(value, dict) else None


def check_target(out: Path, overwrite: bool) -> None:
    """Check that an export may be written to a folder.

    Raises:
        UsageError: the folder contains other files, or an export and `overwrite` is false.
    """
    earlier = holds_earlier(out, "export", lambda folder: stored_identity(folder) is not None)
    if earlier and not overwrite:
        raise UsageError(
            f"{out} contains another export",
            "Write to another folder with --out, or replace that one with --overwrite.",
        )


@contextmanager
def atomic_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder that replaces `out` on success and is removed on an error.

    The caller holds the lock of `out`.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    # A killed export may have left either of these behind.
    recover(out)
    fresh = staging_folder(out)
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    try:
        yield fresh
        old = replace_folder(fresh, out)
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
