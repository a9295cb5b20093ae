"""Check that image files decode and that their stored size is the annotated one."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from mixedparts.images.exif import neutral_bytes
from mixedparts.images.opening import UnreadableImage, decodable_size
from mixedparts.records import Reason

_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0)
_AT_ONCE = getattr(os, "O_NONBLOCK", 0)  # opening a pipe does not wait for a writer

__all__ = ["check_image", "decoding_fault", "neutral_bytes"]


def check_image(path: Path | str, width: int, height: int) -> tuple[Reason, str] | None:
    """Check that an image file exists, decodes to its end and has its annotated size.

    Every image that passes can be opened by `opening.rgb_image`, which all other parts of the
    program use.

    Args:
        path: the image file.
        width: annotated width of the stored grid in pixels, EXIF orientation not applied.
        height: annotated height of the stored grid in pixels.

    Returns:
        None if all of that is true, else the reason code and a sentence for people.
    """
    try:
        data = _regular_bytes(os.fspath(path))
        if data is None:
            return Reason.MISSING_IMAGE, f"no file {Path(path).name}"
        size = decodable_size(data)
    except (OSError, UnreadableImage) as error:
        return Reason.UNREADABLE_IMAGE, decoding_fault(path, error)
    if size != (width, height):
        name = Path(path).name
        detail = f"{name} is {size[0]} x {size[1]}, its annotation has {width} x {height}"
        return Reason.SIZE_MISMATCH, detail
    return None


def _regular_bytes(path: str) -> bytes | None:
    """Return the bytes of a regular file, None if there is none.

    Raises:
        OSError: the file is there, but cannot be read.
    """
    # Plain calls of the system: every image of a source is read here, and the objects of `pathlib`
    # and `io` take longer than these calls.
    try:
        file = os.open(path, _FLAGS | _AT_ONCE)
    # A name comes from an annotation file: too long, with a zero byte, in a folder that is none.
    except (OSError, ValueError):
        if not _is_regular(path):
            return None
        file = os.open(path, _FLAGS)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            return None
        # One byte more: a short read then shows the end of the file.
        data = os.read(file, status.st_size + 1)
        if len(data) == status.st_size:
            return data
    finally:
        os.close(file)
    with open(path, "rb") as again:
        return again.read()


def _is_regular(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def decoding_fault(path: Path | str, error: Exception) -> str:
    """Return why an image does not decode."""
    # Rejects are part of a build, whose bytes must not depend on the folders of this machine.
    name = Path(path).name
    text = str(error).replace(str(path), name) or type(error).__name__
    return text if name in text else f"{name}: {text}"
