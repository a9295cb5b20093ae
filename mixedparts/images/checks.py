"""Check that image files decode and that their stored size is the annotated one."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from mixedparts.images.exif import neutral_bytes
from mixedparts.images.jpeg import intact_jpeg_size
from mixedparts.records import Reason

__all__ = ["check_image", "decoding_fault", "neutral_bytes", "open_image"]

# The formats that occur in datasets. Pillow selects a decoder by the content of a file, not by its
# suffix, so every other decoder is closed: one of them starts Ghostscript on a file that is really
# a PostScript program, and the files come from the internet.
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP")


def open_image(file: str | Path | BinaryIO) -> Image.Image:
    """Open an image file of one of the formats that occur in datasets; pixels are not decoded.

    Raises:
        OSError: the file cannot be read, or has another format. For broken bytes Pillow also raises
            errors of other classes.
    """
    return Image.open(file, formats=_FORMATS)


def check_image(path: Path, width: int, height: int) -> tuple[Reason, str] | None:
    """Check that an image file exists, decodes to its end and has its annotated size.

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
    # Most files are plain JPEGs, whose segments show that they decode; the decoder judges the rest.
    if intact_jpeg_size(path) == (width, height):
        return None
    try:
        # Pillow warns of large images and of odd metadata, which are no faults here.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_image(path) as image:
                size = image.size
                if size == (width, height):
                    # At an eighth of its size a JPEG is read to its last byte, but few pixels are
                    # computed. Other formats ignore this.
                    image.draft("L", (max(1, width // 8), max(1, height // 8)))
                    image.load()
    # Decoders raise errors of any class on broken bytes: OSError, SyntaxError, struct.error, ….
    except Exception as error:
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
