"""Pictures as bytes: proof that they decode, and that their stored size is the annotated one."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from PIL import Image

from mixedparts.images.exif import neutral_bytes
from mixedparts.images.jpeg import sound_size
from mixedparts.records import Reason

__all__ = ["check_image", "decoding_fault", "neutral_bytes"]

# What datasets hold, whatever their suffix says; Pillow's other decoders stay shut, since one of
# them would start an interpreter for a picture that is really a PostScript program.
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP")


def check_image(path: Path, width: int, height: int) -> tuple[Reason, str] | None:
    """Prove that a picture is there, decodes to its end and has the annotated stored size.

    Returns:
        None where it does, else the reason code and a sentence for people.
    """
    if not os.path.isfile(path):  # unlike Path.is_file, also for names that no system takes
        return Reason.MISSING_IMAGE, f"no file {path.name}"
    if sound_size(path) == (width, height):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_FORMATS) as picture:
                size = picture.size
                if size == (width, height):
                    # A JPEG decodes at an eighth: all its bytes are read, few pixels made.
                    picture.draft("L", (max(1, width // 8), max(1, height // 8)))
                    picture.load()
    except Exception as error:  # decoders given broken bytes raise nearly anything
        return Reason.UNREADABLE_IMAGE, decoding_fault(path, error)
    if size != (width, height):
        detail = f"{path.name} is {size[0]} x {size[1]}, its annotation says {width} x {height}"
        return Reason.SIZE_MISMATCH, detail
    return None


def decoding_fault(path: Path, error: Exception) -> str:
    """Say why a picture does not decode, without the folders of this machine."""
    text = str(error).replace(str(path), path.name) or type(error).__name__
    return text if path.name in text else f"{path.name}: {text}"
