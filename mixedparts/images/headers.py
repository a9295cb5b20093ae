"""Check the size in the header of an image file in a few microseconds."""

from __future__ import annotations

from mixedparts.images.opening import UnreadableImage, stored_size

# Frame headers of JPEG (ITU-T T.81, table B.1) are C0 to CF, but for tables and reserved markers.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN = 0xDA


def has_size(data: bytes, width: int, height: int) -> bool:
    """Check the size of an image file by its header; pixels are not decoded.

    Args:
        data: bytes of the file.
        width: of the stored grid in pixels.
        height: of the stored grid in pixels.

    Returns:
        Whether the file can be opened and has this size.
    """
    # Opening a file for real takes ten times as long, so it decides only what is unusual.
    if _jpeg_size(data) == (width, height):
        return True
    try:
        return stored_size(data) == (width, height)
    except UnreadableImage:
        return False


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) in the first frame header of a JPEG, None for anything unusual."""
    if data[:2] != b"\xff\xd8":
        return None
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in _FRAMES:
            height = int.from_bytes(data[position + 5 : position + 7], "big")
            return int.from_bytes(data[position + 7 : position + 9], "big"), height
        # Restart markers, markers without a length and fill bytes are left to the decoder.
        if marker < 0xC0 or 0xD0 <= marker <= 0xD9 or marker in (_SCAN, 0xFF):
            return None
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None
