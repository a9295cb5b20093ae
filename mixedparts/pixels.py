"""Pictures as bytes: proof that they decode, their stored size, and a neutral EXIF orientation."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

from PIL import Image

from mixedparts.records import Reason

_ORIENTATION = 0x0112
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def check_picture(path: Path, width: int, height: int) -> tuple[Reason, str] | None:
    """Prove that a picture is there, decodes to its end and has the annotated stored size.

    Returns:
        None where it does, else the reason code and a sentence for people.
    """
    if not path.is_file():
        return Reason.MISSING_IMAGE, f"no file {path.name}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as picture:
                size = picture.size
                if size == (width, height):
                    # A JPEG decodes at an eighth of its size: all its bytes are read, few pixels made.
                    picture.draft("L", (max(1, width // 8), max(1, height // 8)))
                    picture.load()
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error) as error:
        return Reason.UNREADABLE_IMAGE, f"{path.name}: {error}"
    except Image.DecompressionBombError as error:
        return Reason.UNREADABLE_IMAGE, f"{path.name}: {error}"
    if size != (width, height):
        detail = f"{path.name} is {size[0]} x {size[1]}, its annotation says {width} x {height}"
        return Reason.SIZE_MISMATCH, detail
    return None


def neutral_bytes(data: bytes) -> bytes:
    """Return the picture's bytes with EXIF orientation set to 1 (upright); pixels are untouched.

    Masks live on the stored grid, and readers that honour the tag would turn the picture but not
    the masks. JPEG (APP1) and PNG (eXIf) are handled; other bytes come back as they are.
    """
    if data[:2] == b"\xff\xd8":
        return _neutral_jpeg(data)
    if data[:8] == _PNG_SIGNATURE:
        return _neutral_png(data)
    return data


def _neutral_jpeg(data: bytes) -> bytes:
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker == 0xDA:  # pixels begin
            break
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without a payload
            position += 2
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0xE1 and data[position + 4 : position + 10] == b"Exif\x00\x00":
            start, stop = position + 10, position + 2 + length
            data = data[:start] + _upright(data[start:stop]) + data[stop:]
        position += 2 + length
    return data


def _neutral_png(data: bytes) -> bytes:
    position = len(_PNG_SIGNATURE)
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        start, stop = position + 8, position + 8 + length
        if kind == b"eXIf":
            body = _upright(data[start:stop])
            checksum = zlib.crc32(kind + body).to_bytes(4, "big")
            data = data[:start] + body + checksum + data[stop + 4 :]
        position = stop + 4
    return data


def _upright(tiff: bytes) -> bytes:
    """Set the orientation entry of the first image directory to 1, byte count unchanged."""
    order = {b"II": "little", b"MM": "big"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return tiff
    offset = int.from_bytes(tiff[4:8], order)  # type: ignore[arg-type]
    entries = int.from_bytes(tiff[offset : offset + 2], order)  # type: ignore[arg-type]
    patched = bytearray(tiff)
    for index in range(entries):
        at = offset + 2 + 12 * index
        tag = int.from_bytes(tiff[at : at + 2], order)  # type: ignore[arg-type]
        if at + 12 <= len(tiff) and tag == _ORIENTATION:
            patched[at + 8 : at + 10] = (1).to_bytes(2, order)  # type: ignore[arg-type]
    return bytes(patched)


def picture_size(data: bytes) -> tuple[int, int]:
    """Return (width, height) in pixels of the stored grid."""
    with Image.open(io.BytesIO(data)) as picture:
        return picture.size
