"""The Rle value and everything done to it; the only room that knows a mask library.

Masks travel as COCO compressed RLE (column-major runs, first run is background). Dense arrays
are (H, W) uint8 with values 0 and 1 and live inside one function. Areas are pixel counts, boxes
are (x, y, w, h) in pixels. Every operation agrees bit for bit with pycocotools, which does it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask


class InvalidMask(ValueError):
    """Run lengths that do not describe a mask of the stated size."""


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

    Args:
        polygons: at least one; each x0, y0, x1, y1, … in pixels, 6 finite numbers or more (the
            library takes 4 for a box and walks every pixel of an outline, so the caller checks
            number and range).
    """
    rles = coco_mask.frPyObjects(list(polygons), height, width)
    return _from_coco(rles[0] if len(rles) == 1 else coco_mask.merge(rles))


def from_counts(counts: Sequence[int] | NDArray[np.int64], height: int, width: int) -> Rle:
    """Compress explicit run lengths, background first.

    Raises:
        InvalidMask: a negative run, or runs that do not add up to height * width.
    """
    try:
        lengths = np.asarray(counts, np.int64)
    except OverflowError:
        raise InvalidMask("a run length of over 64 bits") from None
    _prove(lengths, height, width)
    return _from_coco(
        coco_mask.frPyObjects({"size": [height, width], "counts": lengths}, height, width)
    )


def from_string(counts: str | bytes, height: int, width: int) -> Rle:
    """Take a compressed string as it is, after proving that it describes such a mask.

    Raises:
        InvalidMask: characters outside the code, a cut string, or a wrong sum of runs.
    """
    rle = Rle(height, width, _ascii(counts))
    _prove(runs(rle), height, width)
    return rle


def from_strings(
    strings: Sequence[str | bytes], height: int, width: int
) -> list[tuple[Rle, int] | InvalidMask]:
    """Take many strings for one size of image, each proven; at once, which is several times faster.

    Returns:
        For each string its mask and area in pixels, or what is wrong with it.
    """
    if not strings:
        return []
    try:
        raws = [_ascii(counts) for counts in strings]
        values, counts = _code_values(raws)
        lengths = _undo_differences(values, counts)
        firsts = np.cumsum(counts) - counts
        if not counts.all() or (np.add.reduceat(lengths, firsts) != height * width).any():
            raise InvalidMask
        _prove_range(lengths, height, width)
        odd = (np.arange(lengths.size) - np.repeat(firsts, counts)) & 1
        areas = np.add.reduceat(lengths * odd, firsts)
    except InvalidMask:  # one of them is broken: find out which, and why
        return [_proven(counts, height, width) for counts in strings]
    found = zip(raws, areas.tolist(), strict=True)
    return [(Rle(height, width, raw), pixels) for raw, pixels in found]


def _proven(counts: str | bytes, height: int, width: int) -> tuple[Rle, int] | InvalidMask:
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


def _prove(lengths: NDArray[np.int64], height: int, width: int) -> None:
    """Check that run lengths cover an image."""
    _prove_range(lengths, height, width)
    if int(lengths.sum()) != height * width:
        raise InvalidMask(f"the runs do not cover {height} x {width} pixels")


def _prove_range(lengths: NDArray[np.int64], height: int, width: int) -> None:
    """Check each run alone: a sum of huge ones may wrap around to the right one."""
    if lengths.size and not 0 <= int(lengths.min()) <= int(lengths.max()) <= height * width:
        raise InvalidMask(f"a run length is negative or over {height} x {width} pixels")


def from_labels(labels: NDArray[Any], wanted: Collection[int]) -> dict[int, Rle]:
    """Encode wanted values of a (H, W) unsigned label map, walking its pixels once.

    Returns:
        Value -> the mask of its pixels, for the wanted values that occur, ascending.
    """
    height, width = labels.shape
    flat = labels.ravel(order="F")
    starts = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))
    ends = np.append(starts[1:], flat.size)
    values = flat[starts]
    encoded = {}
    for value in sorted(set(np.unique(values).tolist()).intersection(wanted)):
        chosen = values == value
        edges = np.stack((starts[chosen], ends[chosen]), axis=1).ravel()
        lengths = np.diff(edges, prepend=0, append=flat.size)
        encoded[value] = from_counts(lengths if lengths[-1] else lengths[:-1], height, width)
    return encoded


def from_dense(dense: NDArray[Any]) -> Rle:
    """Encode a (H, W) array; non-zero is foreground."""
    return _from_coco(coco_mask.encode(np.asfortranarray(dense != 0, dtype=np.uint8)))


def decode(rle: Rle) -> NDArray[np.uint8]:
    """Return the (H, W) uint8 array of zeros and ones."""
    dense: NDArray[np.uint8] = coco_mask.decode(rle.to_coco())
    return dense


def runs(rle: Rle) -> NDArray[np.int64]:
    """Return the run lengths of a compressed string, background first.

    Raises:
        InvalidMask: characters outside the code, a cut string, or a number of over 6 characters:
            no run of an image under 2^29 pixels needs more, and the library's C code shifts
            further groups out of its integers.
    """
    values, _ = _code_values([rle.counts])
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def _code_values(strings: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Read the numbers of compressed strings together, which costs hardly more than one of them.

    The code: 5 bits a character (offset 48), bit 5 says that more follow, the last group's bit 4
    is the sign, and from the fourth run on a value is the difference to the run two before; the
    first run stands alone.

    Returns:
        All numbers one string after the other, differences still, and how many each string has.
    """
    codes = np.frombuffer(b"".join(strings), np.uint8) - np.uint8(48)  # below the offset: wraps
    sizes = np.array([len(string) for string in strings], np.int64)
    if codes.size == 0:
        return np.zeros(0, np.int64), sizes
    if codes.max() > 63:
        raise InvalidMask("the run-length string holds characters outside its code")
    last = codes < 32
    stops = np.cumsum(sizes)
    if not last[stops[sizes > 0] - 1].all():
        raise InvalidMask("the run-length string is cut")
    ends = np.flatnonzero(last)
    starts = np.concatenate(([0], ends[:-1] + 1))
    widths = ends - starts + 1
    if widths.max() > 6:
        raise InvalidMask("a run length of over 30 bits")
    values = (codes[starts] & 31).astype(np.int64)
    for group in range(1, int(widths.max())):
        longer = np.flatnonzero(widths > group)
        values[longer] |= (codes[starts[longer] + group] & 31).astype(np.int64) << (5 * group)
    values -= (codes[ends] >= 16).astype(np.int64) << (5 * widths)
    return values, np.diff(np.searchsorted(ends, stops), prepend=0)


def _undo_differences(values: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Add to every value but the first three of its string the sum two before it."""
    firsts = np.cumsum(counts) - counts
    rows = (counts + 1) // 2  # a row is a background run and the foreground run after it
    tops = np.cumsum(rows) - rows
    place = np.arange(values.size) + np.repeat(2 * tops - firsts, counts)
    table = np.zeros((int(rows.sum()) + 1, 2), np.int64)  # its first row stays zero
    table[1:].reshape(-1)[place] = values
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
    """Return `area` and `bbox` of many masks with one call each."""
    if not rles:
        return []
    coco = [rle.to_coco() for rle in rles]
    boxes = coco_mask.toBbox(coco).tolist()
    return [
        (int(pixels), tuple(box)) for pixels, box in zip(coco_mask.area(coco), boxes, strict=True)
    ]


def iou(first: Sequence[Rle], second: Sequence[Rle]) -> NDArray[np.float64]:
    """Return the (len(first), len(second)) intersection over union; 0 where the union is empty."""
    if not first or not second:
        return np.zeros((len(first), len(second)))
    crowd = [0] * len(second)
    return np.asarray(
        coco_mask.iou([r.to_coco() for r in first], [r.to_coco() for r in second], crowd)
    )
