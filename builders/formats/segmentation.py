"""From a record's `segmentation` to a proven mask, or the reason why there is none.

Upstream writes polygon lists, run lengths as text or as a list, and nothing at all; broken files
write everything else. What reaches the mask library has been checked before.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from builders.formats.identifiers import whole
from builders.formats.json_file import UNREADABLE, loose
from mixedparts import masks
from mixedparts.masks import InvalidMask, Rle
from mixedparts.records import Reason

MAX_COORDINATE = 1e5  # px; the rasteriser walks every pixel of an outline, also outside the image
MAX_OUTLINE = 2e6  # px; length of all edges of one polygon, each by its longer side
MIN_NUMBERS = 6


class Refusal(NamedTuple):
    """Why a mask, or one of its polygons, is not taken."""

    reason: Reason
    detail: str


class Segmentation(NamedTuple):
    """A mask with at least one pixel, or why there is none; and the polygons dropped on the way."""

    mask: Rle | Refusal
    dropped: tuple[Refusal, ...] = ()


class _RunLengths(msgspec.Struct):
    size: list[int]
    counts: str | list[int]


_decoder = msgspec.json.Decoder(list[list[float]] | _RunLengths | None)


def read_segmentations(
    raws: Sequence[memoryview | msgspec.Raw], width: int, height: int
) -> list[Segmentation]:
    """Return the masks that JSON values describe for one image of `width` x `height` pixels."""
    found: list[Segmentation | str] = [_read(raw, width, height) for raw in raws]
    strings = [item for item in found if isinstance(item, str)]
    proven = iter(masks.from_strings(strings, height, width))
    return [_from_proof(next(proven)) if isinstance(item, str) else item for item in found]


def _read(raw: memoryview | msgspec.Raw, width: int, height: int) -> Segmentation | str:
    """Return a finished segmentation, or the run-length string that is still to be proven."""
    try:
        value = _decoder.decode(raw)
    except UNREADABLE:
        try:
            value = _tidy(loose(raw))
        except ValueError as error:
            return _refused(Reason.MALFORMED_RECORD, f"segmentation: {error}")
    if isinstance(value, _RunLengths):
        return _from_run_lengths(value, width, height)
    if not value:
        return _refused(Reason.MISSING_MASK, "no segmentation")
    return _from_polygons(value, width, height)


def _tidy(value: Any) -> list[list[float] | None] | _RunLengths:
    """Return what can be saved of a segmentation of unusual types; None is a lost polygon.

    Raises:
        ValueError: it is neither polygons nor run lengths.
    """
    if isinstance(value, list) and any(isinstance(item, list) for item in value):
        return [_floats(item) for item in value]
    if isinstance(value, dict):
        size, counts = _integers(value.get("size")), value.get("counts")
        counts = counts if isinstance(counts, str) else _integers(counts)
        if size is not None and counts is not None:
            return _RunLengths(size, counts)
    raise ValueError("neither polygons nor run lengths")


def _integers(values: Any) -> list[int] | None:
    if not isinstance(values, list):
        return None
    integers = [number for number in map(whole, values) if number is not None]
    return integers if len(integers) == len(values) else None


def _floats(values: Any) -> list[float] | None:
    if not isinstance(values, list):
        return None
    numbers = [value for value in values if type(value) in (int, float)]
    try:
        floats = [float(number) for number in numbers if isfinite(number)]
    except OverflowError:  # an integer beyond every float
        return None
    return floats if len(floats) == len(values) else None


def _refused(reason: Reason, detail: str, dropped: tuple[Refusal, ...] = ()) -> Segmentation:
    return Segmentation(Refusal(reason, detail), dropped)


def _from_run_lengths(value: _RunLengths, width: int, height: int) -> Segmentation | str:
    if value.size != [height, width]:
        detail = f"size {value.size}, its image is [{height}, {width}] (h, w)"
        return _refused(Reason.MASK_SIZE_MISMATCH, detail)
    if isinstance(value.counts, str):
        return value.counts
    try:
        rle = masks.from_counts(value.counts, height, width)
    except InvalidMask as error:
        return _refused(Reason.INVALID_MASK, str(error))
    return _unless_empty(rle, masks.area(rle))


def _from_proof(outcome: tuple[Rle, int] | InvalidMask) -> Segmentation:
    if isinstance(outcome, InvalidMask):
        return _refused(Reason.INVALID_MASK, str(outcome))
    return _unless_empty(*outcome)


def _from_polygons(polygons: Sequence[list[float] | None], width: int, height: int) -> Segmentation:
    usable: list[NDArray[np.float64]] = []
    dropped: list[Refusal] = []
    for polygon in polygons:
        outline = _outline(polygon)
        if isinstance(outline, Refusal):
            dropped.append(outline)
        else:
            usable.append(outline)
    if not usable:
        detail = f"none of {len(polygons)} polygons can be used"
        return _refused(Reason.MISSING_MASK, detail, tuple(dropped))
    rle = masks.from_polygons(usable, height, width)
    return _unless_empty(rle, masks.area(rle), tuple(dropped))


def _unless_empty(rle: Rle, area: int, dropped: tuple[Refusal, ...] = ()) -> Segmentation:
    if area == 0:
        return _refused(Reason.EMPTY_MASK, "the mask has no pixel in the image", dropped)
    return Segmentation(rle, dropped)


def _outline(polygon: list[float] | None) -> NDArray[np.float64] | Refusal:
    """Return x0, y0, x1, y1, … as a (n,) float64 array in pixels, or why it is dropped."""
    if polygon is None:
        return Refusal(Reason.INVALID_POLYGON, "not a list of finite numbers")
    if len(polygon) < MIN_NUMBERS:
        return Refusal(Reason.SHORT_POLYGON, f"{len(polygon)} numbers")
    points = np.array(polygon, np.float64)
    reach = max(float(points.max()), -float(points.min()))
    if reach > MAX_COORDINATE:
        return Refusal(Reason.INVALID_POLYGON, f"a coordinate of {reach:g} px")
    if reach * len(points) > MAX_OUTLINE and _length(points) > MAX_OUTLINE:
        return Refusal(Reason.INVALID_POLYGON, f"an outline of over {MAX_OUTLINE:g} px")
    return points


def _length(points: NDArray[np.float64]) -> float:
    """Return the length of a closed outline, each edge by its longer side."""
    corners = points[: len(points) // 2 * 2].reshape(-1, 2)
    return float(np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1).sum())
