"""Run lengths and the string code of COCO: decode many strings in one pass, find irregular forms.

The code: a character holds 5 bits of a number, lowest bits first, offset by 48. Its bit 5 is set if
more characters of the number follow. Bit 4 of the last character is the sign. From the fourth run
of a string on, the number is the difference to the run two before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixedparts.masks.rle import InvalidMask


class Numbers(NamedTuple):
    """The numbers of compressed strings, one string after the other.

    Attributes:
        values: (n,) int64 numbers of all strings; differences are not undone.
        counts: (strings,) int64, how many numbers each string has.
        padded: (k,) int64 positions in `values` of numbers with more characters than they need.
    """

    values: NDArray[np.int64]
    counts: NDArray[np.int64]
    padded: NDArray[np.int64]


def decode_numbers(strings: Sequence[bytes]) -> Numbers:
    """Decode the numbers of compressed strings.

    Raises:
        InvalidMask: characters outside the code, a cut string, or a number of over 6 characters.
    """
    # One call for all strings: the fixed cost of the numpy calls exceeds the work on one string.
    # Characters below the offset wrap around to over 63 and fail the check of the range.
    codes = np.frombuffer(b"".join(strings), np.uint8) - np.uint8(48)
    sizes = np.array(list(map(len, strings)), np.int64)
    if codes.size == 0:
        return Numbers(np.zeros(0, np.int64), sizes, np.zeros(0, np.int64))
    if codes.max() > 63:
        raise InvalidMask("the run-length string contains characters outside its code")
    # Bit 5 is clear in the last character of a number; a string must end with such a character,
    # else its last number would continue in the next string.
    last = codes < 32
    stops = np.cumsum(sizes)
    if not last[stops[sizes > 0] - 1].all():
        raise InvalidMask("the run-length string is cut")
    ends = np.flatnonzero(last)
    widths = np.diff(ends, prepend=-1)
    # Most numbers have one character, five bits of which the highest is the sign.
    values = codes[ends].astype(np.int64)
    values -= (values & 16) << 1
    longer = np.flatnonzero(widths > 1)
    values[longer], irregular = _longer(codes, ends[longer], widths[longer])
    counts = np.diff(np.searchsorted(ends, stops), prepend=0)
    return Numbers(values, counts, longer[irregular])


def _longer(
    codes: NDArray[np.uint8], ends: NDArray[np.int64], widths: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of more than one character.

    Args:
        codes: the characters of all strings, less the offset.
        ends: (n,) int64, place of the last character of each number.
        widths: (n,) int64, how many characters it has.

    Returns:
        (n,) int64 numbers, and the positions of those whose last character only repeats the sign.

    Raises:
        InvalidMask: a number of over 6 characters.
    """
    most = int(widths.max(initial=0))
    # 6 characters hold every run of an image under 2^29 pixels. The C code would shift further
    # groups out of its integers and decode another number.
    if most > 6:
        raise InvalidMask("a run length of over 30 bits")
    starts = ends - widths + 1
    values = (codes[starts] & 31).astype(np.int64)
    # At most 5 steps, each over all numbers that have so many characters.
    for group in range(1, most):
        at = np.flatnonzero(widths > group)
        values[at] |= (codes[starts[at] + group] & 31).astype(np.int64) << (5 * group)
    # Two's complement of 5 * width bits: a set sign bit subtracts 2^(5 * width).
    final = codes[ends]
    negative = np.flatnonzero(final >= 16)
    values[negative] -= 1 << (5 * widths[negative])
    # All bits of a character that only repeats the sign equal the sign bit of the one before it.
    likely = np.flatnonzero((final == 0) | (final == 31))
    signed = codes[ends[likely] - 1] & 16 != 0
    return values, likely[signed == (final[likely] == 31)]


def undo_differences(values: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the run lengths of all strings, (n,) int64; arguments as in `Numbers`."""
    # The values of a string are laid out as rows of (background, foreground). A run and the run two
    # before it are then neighbours in a column, and one cumulative sum over the rows of all strings
    # undoes every difference. The sum that has run up before a string is subtracted from its rows.
    firsts = np.cumsum(counts) - counts
    rows = (counts + 1) // 2
    tops = np.cumsum(rows) - rows
    # An odd number of values leaves the last foreground cell of a string at zero.
    place = np.arange(values.size) + np.repeat(2 * tops - firsts, counts)
    # Row 0 stays zero: `table[tops]` is then the sum of all rows before a string.
    table = np.zeros((int(rows.sum()) + 1, 2), np.int64)
    table[1:].reshape(-1)[place] = values
    # The third run is stored as it is, not as a difference to the first, so the first run stays
    # out of the sums and is put back at the end.
    alone = values[firsts[counts > 0]]
    table[1 + tops[counts > 0], 0] = 0
    np.cumsum(table, axis=0, out=table)
    lengths: NDArray[np.int64] = (table[1:] - np.repeat(table[tops], rows, axis=0)).reshape(-1)[
        place
    ]
    lengths[firsts[counts > 0]] = alone
    return lengths


def string_lengths(string: bytes) -> tuple[NDArray[np.int64], bool]:
    """Decode one compressed string.

    Returns:
        The run lengths, (n,) int64, background first, and whether any of the numbers has more
        characters than it needs.

    Raises:
        InvalidMask: characters outside the code, a cut string, or a number of over 6 characters.
    """
    values, _, padded = decode_numbers([string])
    # From the fourth run on, a value is the difference to the run two before it. Running sums over
    # every second value undo that; the first run (index 0) is outside of both sums.
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values, padded.size > 0


def is_canonical(lengths: NDArray[np.int64]) -> bool:
    """Return whether only the first of the run lengths may be zero."""
    return bool(lengths[1:].all())


def canonical(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the run lengths of the same mask without runs of zero.

    Args:
        lengths: (n,) run lengths in pixels, background first, none negative.

    Returns:
        (m,) run lengths as `pycocotools.mask.encode` writes them: a run of zero only in front of
        foreground at the first pixel.
    """
    kept = np.flatnonzero(lengths)
    if is_canonical(lengths) or not kept.size:
        return lengths
    # Runs at even positions are background. Without the runs of zero, neighbours can be of one
    # value; each such group becomes one run.
    value = kept & 1
    starts = np.flatnonzero(np.concatenate(([True], value[1:] != value[:-1])))
    merged: NDArray[np.int64] = np.add.reduceat(lengths[kept], starts)
    return np.concatenate(([0], merged)) if value[0] else merged
