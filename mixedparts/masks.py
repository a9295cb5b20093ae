"""The Rle value and everything done to it; the only room that knows a mask library.

Masks travel as COCO compressed RLE (column-major runs, first run is background). Dense arrays
are (H, W) uint8 with values 0 and 1 and live inside one function. Areas are pixel counts, boxes
are (x, y, w, h) in pixels. Every operation agrees bit for bit with pycocotools, which does it.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def from_polygons(polygons: Sequence[Sequence[float]], height: int, width: int) -> Rle:
    """Rasterise polygons (each x0, y0, x1, y1, … with at least 6 finite numbers) and unite them."""
    rles = coco_mask.frPyObjects([list(polygon) for polygon in polygons], height, width)
    return _from_coco(rles[0] if len(rles) == 1 else coco_mask.merge(rles))


def from_counts(counts: Sequence[int], height: int, width: int) -> Rle:
    """Compress explicit run lengths.

    Raises:
        InvalidMask: a negative run, or runs that do not add up to height * width.
    """
    if any(run < 0 for run in counts) or sum(counts) != height * width:
        raise InvalidMask(f"{len(counts)} runs do not cover {height} x {width} pixels")
    return _from_coco(
        coco_mask.frPyObjects({"size": [height, width], "counts": list(counts)}, height, width)
    )


def from_string(counts: str | bytes, height: int, width: int) -> Rle:
    """Take a compressed string as it is, after proving that it describes such a mask.

    Raises:
        InvalidMask: characters outside the code, a cut string, or a wrong sum of runs.
    """
    try:
        raw = counts.encode("ascii") if isinstance(counts, str) else bytes(counts)
    except UnicodeEncodeError:
        raise InvalidMask("the run-length string holds characters outside its code") from None
    rle = Rle(height, width, raw)
    lengths = runs(rle)
    if int(lengths.sum()) != height * width or (lengths.size and int(lengths.min()) < 0):
        raise InvalidMask(f"the runs do not cover {height} x {width} pixels")
    return rle


def from_dense(dense: NDArray[Any]) -> Rle:
    """Encode a (H, W) array; non-zero is foreground."""
    return _from_coco(coco_mask.encode(np.asfortranarray(dense != 0, dtype=np.uint8)))


def decode(rle: Rle) -> NDArray[np.uint8]:
    """Return the (H, W) uint8 array of zeros and ones."""
    return coco_mask.decode(rle.to_coco())


def runs(rle: Rle) -> NDArray[np.int64]:
    """Return the run lengths of a compressed string, background first.

    The code: 5 bits a character (offset 48), bit 5 says that more follow, the last group's bit 4
    is the sign, and from the fourth run on a value is the difference to the run two before.

    Raises:
        InvalidMask: characters outside the code, a cut string, or a number of over 12 characters.
    """
    codes = np.frombuffer(rle.counts, np.uint8).astype(np.int64) - 48
    if codes.size == 0:
        return np.zeros(0, np.int64)
    if codes.min() < 0 or codes.max() > 63:
        raise InvalidMask("the run-length string holds characters outside its code")
    last = (codes & 0x20) == 0
    if not last[-1]:
        raise InvalidMask("the run-length string is cut")
    ends = np.flatnonzero(last)
    starts = np.concatenate(([0], ends[:-1] + 1))
    widths = ends - starts + 1
    if widths.max() > 12:
        raise InvalidMask("a run length of over 60 bits")
    place = np.arange(codes.size) - np.repeat(starts, widths)
    values = np.add.reduceat((codes & 0x1F) << (5 * place), starts)
    values = np.where(codes[ends] & 0x10, values - (np.int64(1) << (5 * widths)), values)
    values[1::2] = np.cumsum(values[1::2])
    if values.size > 2:  # the first background run stands alone: the third value is absolute too
        values[2::2] = np.cumsum(values[2::2])
    return values


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


def iou(first: Sequence[Rle], second: Sequence[Rle]) -> NDArray[np.float64]:
    """Return the (len(first), len(second)) intersection over union; 0 where the union is empty."""
    if not first or not second:
        return np.zeros((len(first), len(second)))
    crowd = [0] * len(second)
    return np.asarray(
        coco_mask.iou([r.to_coco() for r in first], [r.to_coco() for r in second], crowd)
    )
