"""Paths of the local file system, and addresses such as `s3://bucket/x` where they are taken.

An address travels as a `Path`, so that options and configurations have one type for places. `Path`
turns its two slashes into one; `address_of` gives the address back.
"""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

from mixedparts.errors import UsageError

# Two letters or more, so that a drive of Windows is none. `Path` turns the two slashes into one.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")
_LOCAL = ("file", "local")


def is_address(path: str | Path) -> bool:
    """Return whether a path starts with a scheme, such as `s3:/` or `file:/`."""
    return _ADDRESS.match(str(path)) is not None


def address_of(path: str | Path) -> str | None:
    """Return the address that a path means, without a slash at its end; None for a path."""
    text = str(path)
    scheme = _ADDRESS.match(text)
    return None if scheme is None else f"{scheme[1]}://{text[scheme.end() :].rstrip('/')}"


def shown(path: str | Path) -> str:
    """Return a path or an address for messages."""
    return address_of(path) or str(path)


def typed(path: str | Path) -> str:
    """Return a path or an address as a word of a command that a user copies to a shell."""
    text = shown(path)
    # A name such as `-x` would be read as an option.
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def check_local(path: Path) -> None:
    """Check that a path that is written to is no address; for what Python calls give.

    Raises:
        UsageError: it is one, and would become a folder `s3:`.
    """
    if is_address(path):
        raise UsageError(
            f"{shown(path)} is an address, and this is written to local files and folders only",
            "Write it to a folder, and copy that.",
        )


def is_utf8(path: str | Path) -> bool:
    """Return whether the bytes of a path are text in UTF-8, which Parquet and JSON can store."""
    # Python represents other bytes by halves of characters.
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def without_file_scheme(text: str) -> str:
    """Return the local path of a `file://` address; any other text as it is."""
    scheme = _ADDRESS.match(text)
    if scheme is None or scheme[1].lower() not in _LOCAL:
        return text
    # `file:///data` and `file:/data` are the path `/data`, and `file://localhost/data` is too.
    rest = text[len(scheme[1]) + 1 :]
    return re.sub(r"^//(localhost(?=/))?", "", rest)


def as_path(text: str) -> Path:
    """Return a local path or an address as a path.

    Raises:
        ValueError: an address names no bucket; as a path it would become a folder `s3:`.
    """
    path = Path(without_file_scheme(text))
    if is_address(text) and path.name.endswith(":"):
        raise ValueError(f"{text} names no bucket or host; write {text.rstrip('/')}//NAME/FOLDER")
    return path


def local_path(text: str) -> Path:
    """Return the path that a command-line option names.

    Raises:
        argparse.ArgumentTypeError: it is empty, not text in UTF-8, or an address; as a path an
            address would become a folder `s3:`.
    """
    path = place(text)
    if is_address(path):
        raise argparse.ArgumentTypeError(
            f"{text} is an address, and this option takes local files and folders only;"
            " copy or mount it first"
        )
    return path


def place(text: str) -> Path:
    """Return the local path or the address that a command-line option names.

    Raises:
        argparse.ArgumentTypeError: it is empty, not text in UTF-8, or an address of no bucket.
    """
    if not text:
        raise argparse.ArgumentTypeError("it is empty; the present folder is `.`")
    if not is_utf8(text):
        raise argparse.ArgumentTypeError(f"{text!a} is not text in UTF-8; rename it")
    try:
        path = as_path(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if is_address(path):
        return path
    # `.` and `..` have no name of their own, which writers put other names beside.
    return path if path.name not in ("", "..") else path.resolve()
