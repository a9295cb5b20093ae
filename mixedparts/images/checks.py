"""Check that image files decode and that their stored size is the annotated one."""

from __future__ import annotations

import os
from pathlib import Path

from mixedparts.images.exif import neutral_bytes
from mixedparts.images.opening import UnreadableImage, decodable_size
from mixedparts.records import Reason

__all__ = ["check_image", "decoding_fault", "neutral_bytes"]


def check_image(path: Path, width: int, height: int) -> tuple[Reason, str] | None:
    """Check that an image file exists, decodes to its end and has its annotated size.

    Every image that passes can be opened by `opening.rgb_image`, which all other parts of the
    program use.

    Args:
        path: the image file.
        width: annotated width of the stored grid in pixels, EXIF orientation not applied.
        height: annotated height of the stored grid in pixels.

    Returns:
        None if all of that holds, else the reason code and a sentence for people.
    """
    # Names come from annotation files. Path.is_file raises for a name that is too long for the
    # file system; os.path.isfile returns False.
    if not os.path.isfile(path):
        return Reason.MISSING_IMAGE, f"no file {path.name}"
    try:
        size = decodable_size(path.read_bytes())
    except (OSError, UnreadableImage) as error:
        return Reason.UNREADABLE_IMAGE, decoding_fault(path, error)
    if size != (width, height):
        detail = f"{path.name} is {size[0]} x {size[1]}, its annotation has {width} x {height}"
        return Reason.SIZE_MISMATCH, detail
    return None


def decoding_fault(path: Path, error: Exception) -> str:
    """Return why an image does not decode."""
    # Rejects are part of a build, whose bytes must not depend on the folders of this machine.
    text = str(error).replace(str(path), path.name) or type(error).__name__
    return text if path.name in text else f"{path.name}: {text}"
