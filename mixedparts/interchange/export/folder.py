"""A folder that appears under its name when everything is in it, and not before."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mixedparts.errors import UsageError

MARK = "export.json"


def stored_identity(out: Path) -> dict[str, Any] | None:
    """Return what a folder's export was asked for, None where it holds none."""
    try:
        value = json.loads((out / MARK).read_bytes())["identity"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return value if isinstance(value, dict) else None


def check_target(out: Path, overwrite: bool) -> None:
    """Say whether an export may be written to a folder.

    Raises:
        UsageError: it holds something that is no export, or one that is not to be replaced.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file", "Choose another folder with --out.")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if stored_identity(out) is None:
        raise UsageError(
            f"{out} is not empty and holds no export", "Choose another folder with --out."
        )
    if not overwrite:
        raise UsageError(
            f"{out} holds another export",
            "Write to another folder with --out, or replace that one with --overwrite.",
        )


@contextmanager
def appearing(out: Path) -> Iterator[Path]:
    """Yield a folder beside `out` that takes its place on success, and goes away otherwise."""
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    old = out.with_name(f".{out.name}.{os.getpid()}.old")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    try:
        yield fresh
        if out.exists():
            out.rename(old)
        fresh.rename(out)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
