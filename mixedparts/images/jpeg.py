"""Recognise intact JPEG files without decoding them; a decoder judges everything else.

Decoding an image only to find out that it decodes costs more than reading its annotations. For the
plain kind (baseline or extended sequential, Huffman-coded, one scan, grey or three components) two
checks are enough: the segments before the scan, which hold everything that libjpeg refuses, and the
end marker, which a cut file lacks. Damaged coefficients make libjpeg warn, not fail. Segments and
their limits: ITU-T T.81, annex B; code lengths: annex C.
"""

from __future__ import annotations

import re
from functools import lru_cache

# In coded data a byte FF is followed by 00; anything else after it is a marker.
_MARKER = re.compile(rb"\xff[^\x00]")
_SEQUENTIAL = (0xC0, 0xC1)
# Application data and comments: nothing in them can make a decoder fail.
_SKIPPED = (*range(0xE0, 0xF0), 0xFE)
_NONE: frozenset[int] = frozenset()
# Headers of at most so many bytes are remembered; longer ones have metadata, which differs.
_LONGEST = 2048


def plain_jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) in pixels of the bytes of a JPEG of the plain kind, else None."""
    # None means "let the decoder judge", so it is always a safe answer. Only a size is a promise.
    if data[:2] != b"\xff\xd8" or data[-2:] != b"\xff\xd9":
        return None
    # Images of one size from one encoder have the same bytes before their coded data.
    scan = data.find(b"\xff\xda", 2, _LONGEST)
    stop = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
    header = _known_header(data[:stop]) if scan > 0 and stop <= _LONGEST else None
    # What looks like a scan can lie within a segment, such as a thumbnail.
    header = header or _header(data)
    if header is None:
        return None
    # After the start of the scan, the end marker must be the only marker. Another scan or a restart
    # marker before it needs a decoder.
    marked = _MARKER.search(data, header[1])
    return header[0] if marked and marked.end() == len(data) else None


def _header(data: bytes) -> tuple[tuple[int, int], int] | None:
    """Return size and end of the segments up to the first scan; None if one is not plain or cut."""
    position = 2
    size: tuple[int, int] | None = None
    components: dict[int, int] = {}
    quantisers: set[int] = set()
    codes: set[int] = set()
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        body = data[position + 4 : position + 2 + length]
        if length < 2 or len(body) != length - 2:
            return None
        position += 2 + length
        if marker == 0xDA:
            valid = size is not None and _scan_is_valid(body, components, quantisers, codes)
            return (size, position) if size and valid else None
        if marker == 0xDB:
            ids = _quantisers(body)
        elif marker == 0xC4:
            ids = _huffman(body)
        elif marker in _SEQUENTIAL and size is None:
            size, components = _frame(body)
            ids = _NONE if size else None
        elif marker == 0xDD:
            ids = _NONE if length == 4 else None
        else:
            ids = _NONE if marker in _SKIPPED else None
        if ids is None:
            return None
        (quantisers if marker == 0xDB else codes).update(ids)
    return None


_known_header = lru_cache(maxsize=256)(_header)


# Most encoders write the same tables into every file, so a table is checked once.
@lru_cache(maxsize=256)
def _quantisers(body: bytes) -> frozenset[int] | None:
    """Return the ids of the quantisation tables in a segment, None if one is broken."""
    # High four bits: precision, 0 for 8-bit and 1 for 16-bit numbers. Low four bits: id, 0 to 3.
    ids: set[int] = set()
    position = 0
    while position < len(body):
        kind = body[position]
        position += 1 + 64 * (1 + (kind >> 4))
        if kind >> 4 > 1 or kind & 15 > 3 or position > len(body):
            return None
        ids.add(kind & 15)
    return frozenset(ids)


@lru_cache(maxsize=256)
def _huffman(body: bytes) -> frozenset[int] | None:
    """Return (class << 4 | id) of the Huffman tables in a segment, None if one is broken."""
    ids: set[int] = set()
    position = 0
    while position < len(body):
        counts = body[position + 1 : position + 17]
        symbols = body[position + 17 : position + 17 + sum(counts)]
        kind = body[position]
        if len(counts) != 16 or len(symbols) != sum(counts) or len(symbols) > 256:
            return None
        # Class 0 (DC) or 1 (AC) in bit 4, id 0 to 3. A DC symbol is a number of bits, at most 15.
        if kind & 0xEC or (not kind & 0x10 and any(symbol > 15 for symbol in symbols)):
            return None
        # `counts` has the number of codes of 1 to 16 bits. One bit more doubles the free codes; a
        # code that is used is no prefix of others. The code of all ones must stay unused.
        free = 1
        for count in counts:
            free = 2 * free - count
            if free < 1:
                return None
        ids.add(kind)
        position += 17 + len(symbols)
    return frozenset(ids)


def _frame(body: bytes) -> tuple[tuple[int, int] | None, dict[int, int]]:
    """Return (width, height) and component id -> quantisation table; (None, {}) if unusual."""
    # 8-bit samples in 1 or 3 components. CMYK and 12-bit files are left to the decoder.
    number = body[5] if len(body) > 5 else 0
    if number not in (1, 3) or len(body) != 6 + 3 * number or body[0] != 8:
        return None, {}
    height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    parts = [body[6 + 3 * at : 9 + 3 * at] for at in range(number)]
    # Only the first component may be sampled more densely than the others: 4:4:4, 4:2:2, 4:4:0 and
    # 4:2:0, which are the ratios that cameras and encoders write.
    known_sampling = all(part[1] in (0x11, 0x12, 0x21, 0x22) for part in parts)
    if not (width and height and known_sampling) or any(p[1] != 0x11 for p in parts[1:]):
        return None, {}
    components = {part[0]: part[2] for part in parts}
    return ((width, height), components) if len(components) == number else (None, {})


def _scan_is_valid(
    body: bytes, components: dict[int, int], quantisers: set[int], codes: set[int]
) -> bool:
    """Return whether one scan covers all components with tables that the file defines."""
    number = len(components)
    # The last three bytes select all 64 coefficients in full precision, as sequential files must.
    if len(body) != 4 + 2 * number or body[0] != number or body[-3:] != b"\x00\x3f\x00":
        return False
    selected = {body[1 + 2 * at]: body[2 + 2 * at] for at in range(number)}
    if list(selected) != list(components) or not set(components.values()) <= quantisers:
        return False
    return all({tables >> 4, 0x10 | tables & 15} <= codes for tables in selected.values())
