"""A folder that the system refuses to list, also to root, whom no permission stops."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest


def close_folder(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let every way to list a folder raise PermissionError, in this process."""
    scandir, listdir = os.scandir, os.listdir
    closed = folder.resolve()

    def check(path: Any) -> None:
        if not isinstance(path, int) and Path(os.fsdecode(path or ".")).resolve() == closed:
            raise PermissionError(13, "Permission denied", str(path))

    def refused_scandir(path: Any = ".") -> Any:
        check(path)
        return scandir(path)

    def refused_listdir(path: Any = ".") -> Any:
        check(path)
        return listdir(path)

    # `os.walk` and `glob` call the first two. `Path.iterdir` and `Path.rglob` of Python 3.11 and
    # later look them up in `os` too.
    monkeypatch.setattr(os, "scandir", refused_scandir)
    monkeypatch.setattr(os, "listdir", refused_listdir)
