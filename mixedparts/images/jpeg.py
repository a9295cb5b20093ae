"""A quick yes for JPEG files that are sound; everything else is for a decoder to judge.

Decoding a picture only to learn that it decodes costs more than reading its annotations. For the
plain kind (baseline or extended sequential, Huffman-coded, one scan, grey or three components) it
is enough to look at the segments before the scan, which hold all that libjpeg refuses, and at the
end marker, which a cut file lacks. Damaged coefficients make libjpeg warn, not fail. Segments and
their limits: ITU-T T.81, annex B; code lengths: annex C.
"""

from __future__ import annotations

import re
from pathlib import Path

_MARKER = re.compile(rb"\xff[^\x00]")
_SEQUENTIAL = (0xC0, 0xC1)
_SKIPPED = (*range(0xE0, 0xF0), 0xFE)  # application data and comments


def sound_size(path: Path) -> tuple[int, int] | None:
    """Return (width, height) in pixels of a JPEG that is sure to decode to its end, else None."""
    try:
        with open(path, "rb", buffering=0) as handle:
            data = handle.read()
    except OSError:
        return None
    if data[:2] != b"\xff\xd8" or data[-2:] != b"\xff\xd9":
        return None
    return _size_if_sound(data)


def _size_if_sound(data: bytes) -> tuple[int, int] | None:
    """Walk the segments; None at the first thing out of the ordinary."""
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
            sound = size is not None and _scan_is_sound(body, components, quantisers, codes)
            marked = _MARKER.search(data, position)
            return size if sound and marked and marked.end() == len(data) else None
        if marker == 0xDB:
            found = _quantisers(body)
        elif marker == 0xC4:
            found = _huffman(body)
        elif marker in _SEQUENTIAL and size is None:
            size, components = _frame(body)
            found = set() if size else None
        elif marker == 0xDD:
            found = set() if length == 4 else None
        else:
            found = set() if marker in _SKIPPED else None
        if found is None:
            return None
        (quantisers if marker == 0xDB else codes).update(found)
    return None


def _quantisers(body: bytes) -> set[int] | None:
    """Return the ids of quantisation tables: precision 0 or 1, id 0..3."""
    found: set[int] = set()
    position = 0
    while position < len(body):
        kind = body[position]
        position += 1 + 64 * (1 + (kind >> 4))
        if kind >> 4 > 1 or kind & 15 > 3 or position > len(body):
            return None
        found.add(kind & 15)
    return found


def _huffman(body: bytes) -> set[int] | None:
    """Return class and id of Huffman tables, none of whose codes would overflow its length."""
    found: set[int] = set()
    position = 0
    while position < len(body):
        counts = body[position + 1 : position + 17]
        symbols = body[position + 17 : position + 17 + sum(counts)]
        kind = body[position]
        if len(counts) != 16 or len(symbols) != sum(counts) or len(symbols) > 256:
            return None
        if kind & 0xEC or (not kind & 0x10 and any(symbol > 15 for symbol in symbols)):
            return None
        free = 1
        for count in counts:
            free = 2 * free - count
            if free < 1:  # the code of all ones stays unused
                return None
        found.add(kind)
        position += 17 + len(symbols)
    return found


def _frame(body: bytes) -> tuple[tuple[int, int] | None, dict[int, int]]:
    """Return (width, height), and the quantiser of every component."""
    number = body[5] if len(body) > 5 else 0
    if number not in (1, 3) or len(body) != 6 + 3 * number or body[0] != 8:
        return None, {}
    height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    parts = [body[6 + 3 * at : 9 + 3 * at] for at in range(number)]
    known_sampling = all(part[1] in (0x11, 0x12, 0x21, 0x22) for part in parts)
    if not (width and height and known_sampling) or any(p[1] != 0x11 for p in parts[1:]):
        return None, {}
    components = {part[0]: part[2] for part in parts}
    return ((width, height), components) if len(components) == number else (None, {})


def _scan_is_sound(
    body: bytes, components: dict[int, int], quantisers: set[int], codes: set[int]
) -> bool:
    """Say whether one scan holds all components, with tables that are there."""
    number = len(components)
    if len(body) != 4 + 2 * number or body[0] != number or body[-3:] != b"\x00\x3f\x00":
        return False
    selected = {body[1 + 2 * at]: body[2 + 2 * at] for at in range(number)}
    if list(selected) != list(components) or not set(components.values()) <= quantisers:
        return False
    return all({tables >> 4, 0x10 | tables & 15} <= codes for tables in selected.values())
