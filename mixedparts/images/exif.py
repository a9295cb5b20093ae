"""Set the orientation in an image's metadata to upright; the pixels stay as they are.

Annotations use the stored pixel grid. Readers that apply the orientation tag, `datasets` among
them, would rotate the image and not its masks. Rotating the pixels instead would decode and encode
the image again. The tag is in EXIF, or in XMP if EXIF has none; JPEG, PNG and WebP contain both. A
TIFF has the tags of EXIF among its own.
"""

from __future__ import annotations

import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from typing import Literal, NamedTuple

from PIL import Image

from mixedparts.images.formats import TIFF_SIGNATURES

_ORIENTATION, _XMP_PACKET = 0x0112, 0x02BC
_SHORT = 3
_UPRIGHT = 1
_EXIF = b"Exif\x00\x00"
_XMP = b"http://ns.adobe.com/xap/1.0/\x00"
_XMP_ORIENTATION = re.compile(rb'(tiff:Orientation\s*(?:=\s*["\']|>)\s*)[0-9]')
_SKIPPED_CHUNK = b"XXXX"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_XMP = b"XML:com.adobe.xmp\x00"
# EXIF as hexadecimal text in a text chunk, as some tools write it and Pillow reads it.
_PNG_PROFILES = (b"Raw profile type exif\x00", b"exif\x00")


def neutral_bytes(data: bytes) -> bytes:
    """Return the bytes of an image file with every orientation tag set to upright.

    EXIF of a PNG or WebP that cannot be read at all is removed, since readers would fail on the
    image. Bytes without such a tag, and those of other formats than JPEG, PNG, WebP and TIFF, are
    returned unchanged.
    """
    # Formats are recognised by their signature: suffixes in datasets are not reliable.
    if data[:2] == b"\xff\xd8":
        return _neutral_jpeg(data)
    if data[:8] == _PNG_SIGNATURE:
        return b"".join([_PNG_SIGNATURE, *_neutral_png_chunks(data)])
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _neutral_webp(data)
    if data[:4] in TIFF_SIGNATURES:
        return _upright(data, with_xmp=True)
    return data


def _neutral_jpeg(data: bytes) -> bytes:
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        # Any number of FF bytes may precede a marker.
        if marker == 0xFF:
            position += 1
            continue
        # Start of scan: no metadata after it.
        if marker == 0xDA:
            break
        # Markers without a length and a payload.
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            position += 2
            continue
        stop = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0xE1:
            payload = data[position + 4 : stop]
            data = data[: position + 4] + _neutral_payload(payload) + data[stop:]
        position = stop
    return data


def _neutral_payload(payload: bytes) -> bytes:
    """Return the payload of an APP1 segment with an upright tag, length unchanged."""
    if payload.startswith(_EXIF):
        return _EXIF + _upright(payload[len(_EXIF) :])
    return _upright_xmp(payload) if payload.startswith(_XMP) else payload


def _neutral_png_chunks(data: bytes) -> Iterator[bytes]:
    position = len(_PNG_SIGNATURE)
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        stop = position + 12 + length
        kind, body = data[position + 4 : position + 8], data[position + 8 : position + 8 + length]
        position, chunk = stop, data[position:stop]
        # EXIF as hexadecimal text, possibly compressed: Pillow reads the orientation from it. The
        # whole chunk is dropped, since the pixels do not depend on it.
        if kind in (b"tEXt", b"zTXt", b"iTXt") and body.startswith(_PNG_PROFILES):
            continue
        neutral = body
        if kind == b"eXIf":
            if not _is_readable(body):
                continue
            neutral = _upright(body)
        elif kind == b"iTXt" and body.startswith(_PNG_XMP):
            neutral = _upright_png_xmp(body)
        # A changed chunk needs a new checksum, and a new length if its text is compressed.
        if neutral is not body and neutral != body:
            checksum = struct.pack(">I", zlib.crc32(kind + neutral))
            chunk = struct.pack(">I", len(neutral)) + kind + neutral + checksum
        yield chunk
    # A cut last chunk, or bytes after the end.
    yield data[position:]


def _upright_png_xmp(body: bytes) -> bytes:
    """Return the body of an iTXt chunk with an upright tag in its XMP."""
    # Keyword, compression flag and method (a byte each), language tag and translated keyword (each
    # ends with a zero byte), then the XMP.
    head = len(_PNG_XMP) + 2
    start = head
    for _ in range(2):
        start = body.find(b"\x00", start) + 1
        if start == 0:
            return body
    if body[head - 2 : head - 1] != b"\x01":
        return body[:start] + _upright_xmp(body[start:])
    try:
        text = zlib.decompress(body[start:])
    except zlib.error:
        return body
    neutral = _upright_xmp(text)
    return body if neutral == text else body[:start] + zlib.compress(neutral)


def _neutral_webp(data: bytes) -> bytes:
    position = 12
    while position + 8 <= len(data):
        kind = data[position : position + 4]
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        start, stop = position + 8, position + 8 + length
        body = data[start:stop]
        if kind == b"EXIF":
            # Some writers repeat the header of the JPEG segment before the TIFF structure.
            skip = len(_EXIF) if body.startswith(_EXIF) else 0
            if _is_readable(body):
                data = data[: start + skip] + _upright(body[skip:]) + data[stop:]
            else:
                # Readers skip chunks of a kind that they do not know; the byte count stays.
                data = data[:position] + _SKIPPED_CHUNK + data[position + 4 :]
        elif kind == b"XMP ":
            data = data[:start] + _upright_xmp(body) + data[stop:]
        # Chunks have an even size: one byte of padding follows an odd one.
        position = stop + length % 2
    return data


def _is_readable(exif: bytes) -> bool:
    """Return whether Pillow, and so `datasets`, can read EXIF; if not, it fails on the image."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            metadata = Image.Exif()
            metadata.load(exif)
            metadata.get(_ORIENTATION)
    # Broken metadata raise errors of any class.
    except Exception:
        return False
    return True


def _upright_xmp(text: bytes) -> bytes:
    return _XMP_ORIENTATION.sub(rb"\g<1>1", text)


class _Layout(NamedTuple):
    """Sizes in bytes within a TIFF structure: classic, or BigTIFF with 64-bit numbers."""

    offset_at: int  # where the header has the offset of the first directory
    number: int  # of an offset, of the number of values of an entry, and of an entry's value
    entries: int  # of the number of entries of a directory

    @property
    def entry(self) -> int:
        """Size of an entry: tag and type (2 bytes each), number of values, value."""
        return 4 + 2 * self.number


_CLASSIC, _BIG = _Layout(4, 4, 2), _Layout(8, 8, 8)


def _upright(tiff: bytes, with_xmp: bool = False) -> bytes:
    """Return a TIFF structure with the orientation of its first directory set to 1.

    The byte count stays the same, since other entries point to absolute offsets.

    Args:
        tiff: a TIFF file, or the EXIF of another format.
        with_xmp: set the orientation in the XMP of the directory too.
    """
    orders: dict[bytes, Literal["little", "big"]] = {b"II": "little", b"MM": "big"}
    order = orders.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return tiff
    layout = _BIG if int.from_bytes(tiff[2:4], order) == 43 else _CLASSIC
    patched: bytearray | None = None

    def number(at: int, size: int) -> int:
        return int.from_bytes(tiff[at : at + size], order)

    offset = number(layout.offset_at, layout.number)
    start = offset + layout.entries
    stop = start + layout.entry * number(offset, layout.entries)
    for at in range(start, min(stop, len(tiff) - layout.entry + 1), layout.entry):
        tag, value_at = number(at, 2), at + 4 + layout.number
        if tag == _ORIENTATION:
            span = slice(at + 2, at + layout.entry)
            upright = [(_SHORT, 2), (1, layout.number), (_UPRIGHT, 2)]
            entry = b"".join(value.to_bytes(size, order) for value, size in upright)
            # An upright entry keeps its bytes, also the unused ones after its value.
            if tiff[span].startswith(entry):
                continue
            neutral = entry.ljust(span.stop - span.start, b"\x00")
        elif tag == _XMP_PACKET and with_xmp:
            # A value that does not fit into its entry is where the entry points to.
            packet, length = number(value_at, layout.number), number(at + 4, layout.number)
            span = slice(packet, packet + length)
            neutral = _upright_xmp(tiff[span])
            if neutral == tiff[span]:
                continue
        else:
            continue
        patched = patched or bytearray(tiff)
        patched[span] = neutral
    return tiff if patched is None else bytes(patched)
