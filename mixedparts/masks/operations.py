"""Decode, measure and combine masks. All masks are canonical; see `mixedparts.masks`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from mixedparts.masks.rle import Rle, from_coco
from mixedparts.masks.run_lengths import string_lengths

# With NumPy 2, `area` of pycocotools raises OverflowError for more masks than a uint8 can count.
_MOST_AREAS = 255


def decode(rle: Rle) -> NDArray[np.uint8]:
    """Return the (H, W) uint8 array of zeros and ones."""
    dense: NDArray[np.uint8] = coco_mask.decode(rle.to_coco())
    return dense


def runs(rle: Rle) -> NDArray[np.int64]:
    """Return the run lengths of a compressed string, (n,) int64, background first.

    Raises:
        InvalidMask: characters outside the code, a cut string, or a number of over 6 characters.
    """
    return string_lengths(rle.counts)[0]


def union(rles: Sequence[Rle]) -> Rle:
    """Return the pixels of any of the masks (at least one, all of one size)."""
    # pycocotools merges the runs in C without decoding to pixels.
    return rles[0] if len(rles) == 1 else from_coco(coco_mask.merge([r.to_coco() for r in rles]))


def unions(groups: Sequence[Sequence[Rle]]) -> list[Rle]:
    """Return the `union` of each group of masks; a group has at least one, all of one size."""
    united = []
    for group in groups:
        first = group[0]
        if len(group) > 1:
            # As `union` does it, with one size for all dicts.
            size = [first.height, first.width]
            merged = coco_mask.merge([{"size": size, "counts": item.counts} for item in group])
            first = Rle(first.height, first.width, merged["counts"])
        united.append(first)
    return united


def intersection(rles: Sequence[Rle]) -> Rle:
    """Return the pixels of all of the masks (at least one, all of one size)."""
    if len(rles) == 1:
        return rles[0]
    return from_coco(coco_mask.merge([r.to_coco() for r in rles], intersect=True))


def area(rle: Rle) -> int:
    """Return the number of foreground pixels."""
    return int(coco_mask.area(rle.to_coco()))


def is_empty(rle: Rle) -> bool:
    """Return whether a mask has no foreground pixel."""
    # The runs of an empty canonical mask are one number, of at most 6 characters.
    return len(rle.counts) <= 6 and area(rle) == 0


def bbox(rle: Rle) -> tuple[float, float, float, float]:
    """Return the tight box (x, y, w, h) in pixels; zeros for an empty mask."""
    x, y, w, h = coco_mask.toBbox(rle.to_coco())
    return float(x), float(y), float(w), float(h)


def measure(rles: Sequence[Rle]) -> list[tuple[int, tuple[float, float, float, float]]]:
    """Return `area` and `bbox` of each mask, as (pixels, (x, y, w, h))."""
    measured: list[tuple[int, tuple[float, float, float, float]]] = []
    for start in range(0, len(rles), _MOST_AREAS):
        coco = [rle.to_coco() for rle in rles[start : start + _MOST_AREAS]]
        boxes = map(tuple, coco_mask.toBbox(coco).tolist())
        measured += zip(coco_mask.area(coco).tolist(), boxes, strict=True)
    return measured


def iou(first: Sequence[Rle], second: Sequence[Rle]) -> NDArray[np.float64]:
    """Return the (len(first), len(second)) float64 IoU of all pairs; 0 where the union is empty."""
    if not first or not second:
        return np.zeros((len(first), len(second)))
    # With a crowd flag of 1, pycocotools would divide by the area of `first` alone.
    crowd = [0] * len(second)
    return np.asarray(
        coco_mask.iou([r.to_coco() for r in first], [r.to_coco() for r in second], crowd)
    )
