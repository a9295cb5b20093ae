"""The Rle value and all its operations; the only module that calls pycocotools.

Masks travel as COCO compressed RLE (column-major runs, first run is background). Dense arrays
are (H, W) uint8 with values 0 and 1 and live inside one function. Areas are pixel counts, boxes
are (x, y, w, h) in pixels. Masks and areas equal those of pycocotools bit for bit: it does the set
operations, and what is computed here (checks, areas of many strings, label maps) follows its code.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask


class InvalidMask(ValueError):
    """Run lengths that do not describe a mask of the given size."""


class Rle(NamedTuple):
    """A binary mask of `height` x `width` pixels as a COCO compressed run-length string."""

    height: int
    width: int
    counts: bytes

    def to_coco(self) -> dict[str, Any]:
        """Return the dict that pycocotools takes: `size` (h, w) and `counts` as bytes."""
        return {"size": [self.height, self.width], "counts": self.counts}


def _from_coco(rle: dict[str, Any]) -> Rle:
    height, width = rle["size"]
    return Rle(int(height), int(width), bytes(rle["counts"]))


def from_polygons(
    polygons: Sequence[Sequence[float] | NDArray[np.float64]], height: int, width: int
) -> Rle:
    """Rasterise polygons and unite them.

    The caller checks number and range: pycocotools reads 4 numbers as a box, and its rasteriser
    visits every pixel of an outline, also outside of the image.

    Args:
        polygons: at least one; each x0, y0, x1, y1, … in pixels, 6 or more finite numbers.
        height: of the image, in pixels.
        width: of the image, in pixels.

    Returns:
        The pixels of any of the polygons.
    """
    # A merge decodes the strings and encodes the result; one polygon, the usual case, needs none.
    rles = coco_mask.frPyObjects(list(polygons), height, width)
    return _from_coco(rles[0] if len(rles) == 1 else coco_mask.merge(rles))


def from_counts(counts: Sequence[int] | NDArray[np.int64], height: int, width: int) -> Rle:
    """Compress explicit run lengths, background first.

    Args:
        counts: (n,) run lengths in pixels, column-major.
        height: of the image, in pixels.
        width: of the image, in pixels.

    Returns:
        The mask.

    Raises:
        InvalidMask: a negative run, or runs that do not add up to height * width.
    """
    try:
        lengths = np.asarray(counts, np.int64)
    except OverflowError:
        raise InvalidMask("a run length of over 64 bits") from None
    # pycocotools casts run lengths to uint32 without a check.
    _check_lengths(lengths, height, width)
    return _from_coco(
        coco_mask.frPyObjects({"size": [height, width], "counts": lengths}, height, width)
    )


def from_string(counts: str | bytes, height: int, width: int) -> Rle:
    """Return a compressed string as a mask, unchanged, after checking it.

    Args:
        counts: compressed run lengths, column-major, background first.
        height: of the image, in pixels.
        width: of the image, in pixels.

    Returns:
        The mask, with the bytes of `counts`.

    Raises:
        InvalidMask: characters outside the code, a cut string, or a wrong sum of runs.
    """
    rle = Rle(height, width, _ascii(counts))
    # The C code trusts a string: it measures and merges runs that do not fit the image.
    _check_lengths(runs(rle), height, width)
    return rle


def from_strings(
    strings: Sequence[str | bytes], height: int, width: int
) -> list[tuple[Rle, int] | InvalidMask]:
    """Check many compressed strings of one image together, several times faster than one by one.

    Args:
        strings: compressed run lengths, column-major, background first.
        height: of the image, in pixels.
        width: of the image, in pixels.

    Returns:
        For each string its mask and area in pixels, or the `InvalidMask` that describes its fault.
    """
    if not strings:
        return []
    try:
        raws = [_ascii(counts) for counts in strings]
        areas = _areas_of_valid(raws, height, width)
    except InvalidMask:
        # At least one string is broken, which is rare: read them one by one to find which and why.
        return [_checked(counts, height, width) for counts in strings]
    with_area = zip(raws, areas.tolist(), strict=True)
    return [(Rle(height, width, raw), pixels) for raw, pixels in with_area]


def _areas_of_valid(raws: Sequence[bytes], height: int, width: int) -> NDArray[np.int64]:
    """Return the area of each string; raise InvalidMask if any of them is broken."""
    values, counts = _code_values(raws)
    lengths = _undo_differences(values, counts)
    firsts = np.cumsum(counts) - counts
    # `reduceat` returns a neighbour's number for an empty slice, so `counts.all()` comes first.
    if not counts.all() or (np.add.reduceat(lengths, firsts) != height * width).any():
        raise InvalidMask
    _check_range(lengths, height, width)
    # Foreground runs are those at odd positions of their own string.
    odd = (np.arange(lengths.size) - np.repeat(firsts, counts)) & 1
    areas: NDArray[np.int64] = np.add.reduceat(lengths * odd, firsts)
    return areas


def _checked(counts: str | bytes, height: int, width: int) -> tuple[Rle, int] | InvalidMask:
    try:
        rle = from_string(counts, height, width)
    except InvalidMask as error:
        return error
    return rle, area(rle)


def _ascii(counts: str | bytes) -> bytes:
    try:
        return counts.encode("ascii") if isinstance(counts, str) else bytes(counts)
    except UnicodeEncodeError:
        raise InvalidMask("the run-length string holds characters outside its code") from None


def _check_lengths(lengths: NDArray[np.int64], height: int, width: int) -> None:
    """Raise InvalidMask unless the run lengths cover an image of this size."""
    _check_range(lengths, height, width)
    if int(lengths.sum()) != height * width:
        raise InvalidMask(f"the runs do not cover {height} x {width} pixels")


def _check_range(lengths: NDArray[np.int64], height: int, width: int) -> None:
    """Raise InvalidMask if a run is negative or longer than the image."""
    # The sum alone does not show this: positive and negative runs can cancel out, and a sum of
    # huge runs can wrap around in 64 bits to the right number.
    if lengths.size and not 0 <= int(lengths.min()) <= int(lengths.max()) <= height * width:
        raise InvalidMask(f"a run length is negative or over {height} x {width} pixels")


def from_labels(labels: NDArray[Any], wanted: Collection[int]) -> dict[int, Rle]:
    """Encode some values of a label map as masks.

    Args:
        labels: (H, W) unsigned integers.
        wanted: the values to encode; those that do not occur are ignored.

    Returns:
        Value -> the mask of its pixels, in ascending order of values.
    """
    height, width = labels.shape
    # The pixels are compared once, in the column-major order of RLE, to find the runs of equal
    # values; each mask is then made of runs. A dense array for every value costs a pass each.
    flat = labels.ravel(order="F")
    starts = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))
    ends = np.append(starts[1:], flat.size)
    values = flat[starts]
    encoded = {}
    for value in sorted(set(np.unique(values).tolist()).intersection(wanted)):
        chosen = values == value
        # start, end, start, end, …: the steps between them are background and foreground by turns,
        # with a first background run of 0 where the mask covers the first pixel.
        edges = np.stack((starts[chosen], ends[chosen]), axis=1).ravel()
        lengths = np.diff(edges, prepend=0, append=flat.size)
        # pycocotools writes no background run of 0 at the end.
        encoded[value] = from_counts(lengths if lengths[-1] else lengths[:-1], height, width)
    return encoded


def from_dense(dense: NDArray[Any]) -> Rle:
    """Return the mask of a (H, W) array of any numeric type; non-zero is foreground."""
    return _from_coco(coco_mask.encode(np.asfortranarray(dense != 0, dtype=np.uint8)))


def decode(rle: Rle) -> NDArray[np.uint8]:
    """Return the (H, W) uint8 array of zeros and ones."""
    dense: NDArray[np.uint8] = coco_mask.decode(rle.to_coco())
    return dense


def runs(rle: Rle) -> NDArray[np.int64]:
    """Return the run lengths of a compressed string, background first.

    Raises:
        InvalidMask: characters outside the code, a cut string, or a number of over 6 characters.
    """
    values, _ = _code_values([rle.counts])
    # From the fourth run on, a value is the difference to the run two before it. Running sums over
    # every second value undo that; the first run (index 0) is outside of both sums.
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def _code_values(strings: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Decode the numbers of compressed strings, all strings in one pass.

    The code: a character holds 5 bits of a number, lowest bits first, offset by 48. Its bit 5 is
    set if more characters of the number follow. Bit 4 of the last character is the sign. From the
    fourth run of a string on, the number is the difference to the run two before it.

    Returns:
        values: the numbers of all strings, one string after the other, differences not undone.
        counts: (len(strings),) how many numbers each string has.
    """
    # One call for all strings: the fixed cost of the numpy calls exceeds the work on one string.
    # Characters below the offset wrap around to over 63 and fail the check of the range.
    codes = np.frombuffer(b"".join(strings), np.uint8) - np.uint8(48)
    sizes = np.array([len(string) for string in strings], np.int64)
    if codes.size == 0:
        return np.zeros(0, np.int64), sizes
    if codes.max() > 63:
        raise InvalidMask("the run-length string holds characters outside its code")
    # Bit 5 is clear in the last character of a number; a string must end with such a character,
    # else its last number would continue in the next string.
    last = codes < 32
    stops = np.cumsum(sizes)
    if not last[stops[sizes > 0] - 1].all():
        raise InvalidMask("the run-length string is cut")
    ends = np.flatnonzero(last)
    starts = np.concatenate(([0], ends[:-1] + 1))
    widths = ends - starts + 1
    # 6 characters hold every run of an image under 2^29 pixels. The C code would shift further
    # groups out of its integers and decode another number.
    if widths.max() > 6:
        raise InvalidMask("a run length of over 30 bits")
    # At most 6 steps, each over all numbers that have so many characters.
    values = (codes[starts] & 31).astype(np.int64)
    for group in range(1, int(widths.max())):
        longer = np.flatnonzero(widths > group)
        values[longer] |= (codes[starts[longer] + group] & 31).astype(np.int64) << (5 * group)
    # Two's complement of 5 * width bits: a set sign bit subtracts 2^(5 * width).
    values -= (codes[ends] >= 16).astype(np.int64) << (5 * widths)
    return values, np.diff(np.searchsorted(ends, stops), prepend=0)


def _undo_differences(values: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the run lengths of all strings; `values` and `counts` as from `_code_values`."""
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


def union(rles: Sequence[Rle]) -> Rle:
    """Return the pixels of any of the masks (at least one, all of one size)."""
    # pycocotools merges the runs in C without decoding to pixels.
    return rles[0] if len(rles) == 1 else _from_coco(coco_mask.merge([r.to_coco() for r in rles]))


def intersection(rles: Sequence[Rle]) -> Rle:
    """Return the pixels of all of the masks (at least one, all of one size)."""
    if len(rles) == 1:
        return rles[0]
    return _from_coco(coco_mask.merge([r.to_coco() for r in rles], intersect=True))


def area(rle: Rle) -> int:
    """Return the number of foreground pixels."""
    return int(coco_mask.area(rle.to_coco()))


def bbox(rle: Rle) -> tuple[float, float, float, float]:
    """Return the tight box (x, y, w, h) in pixels; zeros for an empty mask."""
    x, y, w, h = coco_mask.toBbox(rle.to_coco())
    return float(x), float(y), float(w), float(h)


def measure(rles: Sequence[Rle]) -> list[tuple[int, tuple[float, float, float, float]]]:
    """Return `area` and `bbox` of each mask, as (pixels, (x, y, w, h))."""
    # For an empty list pycocotools returns a list, not an array.
    if not rles:
        return []
    coco = [rle.to_coco() for rle in rles]
    boxes = coco_mask.toBbox(coco).tolist()
    return [
        (int(pixels), tuple(box)) for pixels, box in zip(coco_mask.area(coco), boxes, strict=True)
    ]


def iou(first: Sequence[Rle], second: Sequence[Rle]) -> NDArray[np.float64]:
    """Return the (len(first), len(second)) float64 IoU of all pairs; 0 where the union is empty."""
    if not first or not second:
        return np.zeros((len(first), len(second)))
    # With a crowd flag of 1, pycocotools would divide by the area of `first` alone.
    crowd = [0] * len(second)
    return np.asarray(
        coco_mask.iou([r.to_coco() for r in first], [r.to_coco() for r in second], crowd)
    )
