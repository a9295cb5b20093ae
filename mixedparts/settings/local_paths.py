"""Paths of the local file system; an address such as `s3://bucket/x` is not one."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

# Two letters or more, so that a drive of Windows is none. `Path` turns the two slashes into one.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def is_address(path: str | Path) -> bool:
    """Return whether a path starts with a scheme, such as `s3:/` or `file:/`."""
    return _ADDRESS.match(str(path)) is not None


def is_utf8(path: str | Path) -> bool:
    """Return whether the bytes of a path are text in UTF-8, which Parquet and JSON can store."""
    # Python stands in for other bytes with halves of characters.
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def local_path(text: str) -> Path:
    """Return the path that a command-line option names.

    Raises:
        argparse.ArgumentTypeError: it is empty, not text in UTF-8, or an address; as a path an
            address would become a folder `s3:`.
    """
    if not text:
        raise argparse.ArgumentTypeError("it is empty; the present folder is `.`")
    if not is_utf8(text):
        raise argparse.ArgumentTypeError(f"{text!a} is not text in UTF-8; rename it")
    if is_address(text):
        raise argparse.ArgumentTypeError(
            f"{text} is an address, and only local files and folders are read and written;"
            " copy or mount it first"
        )
    path = Path(text)
    # `.` and `..` have no name of their own, which writers put other names beside.
    return path if path.name not in ("", "..") else path.resolve()
