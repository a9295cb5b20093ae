"""Open a file that others may have changed; name what is not a file, and never wait for a pipe."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, TextIO

from mixedparts.errors import EnvironmentFault, InputError
from mixedparts.files.foreign import HEAD, packed_or_absent

_SPECIAL = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def is_there(path: Path) -> bool:
    """Return whether anything has this name, be it a folder, a pipe or a link that leads nowhere.

    A reader then opens it and says what is wrong; `Path.is_file` would call the file absent.

    Raises:
        InputError: a folder on the way may not be entered.
    """
    try:
        os.lstat(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return False
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    return True


def open_file(path: Path, subject: str = "", hint: str | None = None) -> BinaryIO:
    """Open a regular file for reading bytes.

    Args:
        path: the file.
        subject: what the message calls it, before its path, such as `the configuration`.
        hint: what helps if the file is missing or is not a file.

    Returns:
        The open file.

    Raises:
        InputError: the file is missing, is a folder, a pipe or a device, or may not be read.
    """
    try:
        return open_regular(path)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise InputError(f"{subject} {path} {reason(path, error)}".lstrip(), hint) from None


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading bytes; for files of this program, whose reader says more.

    Raises:
        OSError: the file is missing, is a folder, a pipe or a device, or may not be read.
    """
    check_regular(path)
    return path.open("rb")


def open_to_append(path: Path) -> TextIO:
    """Open a file of this program for writing UTF-8 text after what it has; make it if absent.

    Args:
        path: the file; its folder exists.

    Returns:
        The open file.

    Raises:
        EnvironmentFault: it is a folder, a pipe or a device, or may not be written.
    """
    try:
        if is_there(path):
            check_regular(path)
        return path.open("a", encoding="utf-8")
    except OSError as error:
        clause = error.strerror or str(error)
        raise EnvironmentFault(
            f"{path} cannot be written: {clause}", "Move it away and run the command again."
        ) from error


def check_regular(path: Path) -> None:
    """Check that a path is a regular file, for libraries that open files themselves.

    Raises:
        OSError: it is missing, or is a folder, a pipe or a device.
    """
    # Checked before it is opened: opening a pipe waits until somebody writes to it.
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        special = _SPECIAL.get(stat.S_IFMT(mode), "a special file")
        kind = "a folder" if stat.S_ISDIR(mode) else special
        raise OSError(errno.EINVAL, f"it is {kind}, not a file", str(path))


def read_head(path: Path, subject: str = "") -> bytes:
    """Return the first `HEAD` bytes of a file; see `open_file`."""
    with open_file(path, subject) as file:
        try:
            return file.read(HEAD)
        except OSError as error:
            raise InputError(f"{subject} {path} {reason(path, error)}".lstrip()) from None


def check_unpacked(path: Path, subject: str = "") -> None:
    """Check a file that its parser has refused: is it there, and not packed or a pointer?

    Args:
        path: a file of any format that is not packed itself.
        subject: what the message calls it, before its path.

    Raises:
        InputError: as `open_file`; or the file is packed, a pointer of Git LFS or a web page.
    """
    clause = packed_or_absent(read_head(path, subject), str(path))
    if clause is not None:
        raise InputError(f"{subject} {path} {clause}".lstrip())


def reason(path: Path, error: OSError | ValueError) -> str:
    """Return why a file cannot be opened or read, as a clause."""
    if isinstance(error, FileNotFoundError) and path.is_symlink():
        return f"cannot be read: it is a link to {os.readlink(path)}, which is not there"
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "cannot be read: it is not there"
    return f"cannot be read: {getattr(error, 'strerror', None) or error}"
