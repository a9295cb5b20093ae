"""Turn the `segmentation` of a record into a valid mask, or into the reason of its refusal.

Upstream writes polygon lists, run lengths as text or as a list, or nothing; broken files write
anything else. Every value is checked before it reaches the mask library.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from math import isfinite
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from builders.formats.identifiers import whole_number
from builders.formats.json_file import UNREADABLE, decode_untyped
from builders.formats.polygon_numbers import PolygonNumbers, Polygons
from mixedparts import masks
from mixedparts.masks import InvalidMask, Rle
from mixedparts.records import Reason

# The rasteriser visits every pixel of an outline, also outside of the image: one coordinate far
# away takes gigabytes. Both limits are in pixels and far above what annotators draw.
MAX_COORDINATE = 1e5
# Length of all edges of one polygon, each measured along its longer axis.
MAX_OUTLINE = 2e6
# Three corners. A point or a line has no area, and pycocotools reads a list of 4 numbers as a box
# (x, y, w, h) instead of a line, which would add pixels outside the outline.
MIN_NUMBERS = 6


class Refusal(NamedTuple):
    """Why a mask, or one of its polygons, is refused."""

    reason: Reason
    detail: str


class Segmentation(msgspec.Struct, frozen=True, gc=False):
    """The result for one record.

    Attributes:
        mask: a mask with at least one pixel, or why it is refused.
        dropped: the reasons for polygons that were left out; the others make the mask.
    """

    mask: Rle | Refusal
    dropped: tuple[Refusal, ...] = ()


class _RunLengths(msgspec.Struct, gc=False):
    """COCO run lengths: `size` is (h, w); `counts` is compressed text or a list."""

    size: list[int]
    counts: str | list[int]


# Decodes and checks the types in one step, for the forms that upstream writes.
_decoder = msgspec.json.Decoder(list[list[float]] | _RunLengths | None)
_numbers = PolygonNumbers()
_of_many = msgspec.json.Decoder(list[_RunLengths])

_Sizes = Sequence[tuple[int, int]]


def read_segmentations(
    raws: Sequence[memoryview | msgspec.Raw], width: int, height: int
) -> list[Segmentation]:
    """Return the masks that JSON values of one image describe.

    Args:
        raws: `segmentation` values, as JSON.
        width: of the image, in pixels.
        height: of the image, in pixels.

    Returns:
        A result for each value, in order; masks are on the stored grid of the image.
    """
    return read_many(raws, [(height, width)] * len(raws))


def read_many(raws: Sequence[memoryview | msgspec.Raw], sizes: _Sizes) -> list[Segmentation]:
    """Return the masks that JSON values of several images describe.

    One call for many images: each call into the mask library and NumPy has a fixed cost, which is
    higher than the work on one mask.

    Args:
        raws: `segmentation` values, as JSON.
        sizes: (height, width) in pixels of the image of each value.

    Returns:
        A result for each value, in order; masks are on the stored grid of their image.
    """
    texts = list(map(bytes, raws))
    results: dict[int, Segmentation] = {}
    outlines_at = [at for at, text in enumerate(texts) if text[:1] == b"["]
    coded_at = [at for at, text in enumerate(texts) if text[:1] != b"["]
    odd_at = _read_outlines(texts, sizes, outlines_at, results)
    # Polygons that are not lists of numbers are read one by one, as run lengths of other types are.
    _read_coded(texts, sizes, sorted(coded_at + odd_at) if odd_at else coded_at, results)
    return [results[at] for at in range(len(texts))]


def _read_outlines(
    texts: Sequence[bytes], sizes: _Sizes, places: Sequence[int], results: dict[int, Segmentation]
) -> list[int]:
    """Read lists of polygons.

    Args:
        texts: `segmentation` values.
        sizes: (height, width) in pixels of the image of each value.
        places: positions of the lists.
        results: gets the results by position.

    Returns:
        Positions of lists that are no lists of polygons.
    """
    if not places:
        return []
    polygons = _numbers.decode_many([texts[at] for at in places])
    if polygons is not None:
        outlines, usable = _cut(polygons)
        odd_at: list[int] = []
    else:
        found = [(at, _numbers.decode(texts[at])) for at in places]
        odd_at = [at for at, decoded in found if not decoded]
        places = [at for at, decoded in found if decoded]
        outlines = [decoded for _, decoded in found if decoded]
        usable = [False] * len(outlines)
    good = [place for place, fit in zip(places, usable, strict=True) if fit]
    drawn = masks.from_polygon_lists(
        [one for one, fit in zip(outlines, usable, strict=True) if fit],
        [sizes[at] for at in good],
    )
    results.update(zip(good, map(_unless_empty, drawn), strict=True))
    for at, one, fit in zip(places, outlines, usable, strict=True):
        if not fit:
            results[at] = _from_polygons(one, *sizes[at])
    return odd_at


def _cut(polygons: Polygons) -> tuple[list[list[NDArray[np.float64]]], list[bool]]:
    """Return the polygons of each value, and whether all of them are usable; see `_outline`."""
    numbers, lengths, counts = polygons
    ends = list(accumulate(lengths, initial=0))
    flat = [numbers[start:end] for start, end in pairwise(ends)]
    sizes = np.array(lengths)
    reach = np.maximum.reduceat(np.abs(numbers), ends[:-1])
    fit = (sizes >= MIN_NUMBERS) & (reach <= MAX_COORDINATE) & (reach * sizes <= MAX_OUTLINE)
    firsts = list(accumulate(counts, initial=0))
    outlines = [flat[start:end] for start, end in pairwise(firsts)]
    if fit.all():
        return outlines, [True] * len(outlines)
    return outlines, np.logical_and.reduceat(fit, firsts[:-1]).tolist()


def _read_coded(
    texts: Sequence[bytes], sizes: _Sizes, places: Sequence[int], results: dict[int, Segmentation]
) -> None:
    """Read run lengths, and whatever is no list of polygons; arguments as in `_read_outlines`."""
    strings: list[str] = []
    strings_at: list[int] = []
    for at, outcome in zip(places, _decoded(texts, sizes, places), strict=True):
        if isinstance(outcome, str):
            strings.append(outcome)
            strings_at.append(at)
        else:
            results[at] = outcome
    checked = masks.from_sized_strings(strings, [sizes[at] for at in strings_at])
    results.update(zip(strings_at, map(_from_checked, checked), strict=True))


def _decoded(
    texts: Sequence[bytes], sizes: _Sizes, places: Sequence[int]
) -> list[Segmentation | str]:
    """Return what `_read` returns for each of some values."""
    try:
        values = _of_many.decode(b"[" + b",".join([texts[at] for at in places]) + b"]")
    except UNREADABLE:
        values = []
    if len(values) != len(places):
        return [_read(texts[at], sizes[at]) for at in places]
    return [_from_run_lengths(value, *sizes[at]) for at, value in zip(places, values, strict=True)]


def _read(text: bytes, size: tuple[int, int]) -> Segmentation | str:
    """Return a finished segmentation, or a compressed string that is still to be checked."""
    try:
        value = _decoder.decode(text)
    except UNREADABLE:
        # Rare: numbers as whole floats, one broken polygon among good ones, or a broken record.
        try:
            value = _tidy(decode_untyped(text))
        except ValueError as error:
            return _refused(Reason.MALFORMED_RECORD, f"segmentation: {error}")
    if isinstance(value, _RunLengths):
        return _from_run_lengths(value, *size)
    # `null` or an empty list.
    if not value:
        return _refused(Reason.MISSING_MASK, "no segmentation")
    return _from_polygons(value, *size)


def _tidy(value: Any) -> list[list[float] | None] | _RunLengths:
    """Return the usable content of a segmentation of unusual types; None for a broken polygon.

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
    integers = [number for number in map(whole_number, values) if number is not None]
    return integers if len(integers) == len(values) else None


def _floats(values: Any) -> list[float] | None:
    if not isinstance(values, list):
        return None
    # `type` instead of `isinstance`, which takes True for an int.
    numbers = [value for value in values if type(value) in (int, float)]
    try:
        floats = [float(number) for number in numbers if isfinite(number)]
    # An integer beyond the range of floats.
    except OverflowError:
        return None
    return floats if len(floats) == len(values) else None


def _refused(reason: Reason, detail: str, dropped: tuple[Refusal, ...] = ()) -> Segmentation:
    return Segmentation(Refusal(reason, detail), dropped)


def _from_run_lengths(value: _RunLengths, height: int, width: int) -> Segmentation | str:
    # A mask of another size cannot be scaled without a guess about how it was made.
    if value.size != [height, width]:
        detail = f"size {value.size}, its image is [{height}, {width}] (h, w)"
        return _refused(Reason.MASK_SIZE_MISMATCH, detail)
    if isinstance(value.counts, str):
        return value.counts
    try:
        rle = masks.from_counts(value.counts, height, width)
    except InvalidMask as error:
        return _refused(Reason.INVALID_MASK, str(error))
    return _unless_empty(rle)


def _from_checked(outcome: tuple[Rle, int] | InvalidMask) -> Segmentation:
    if isinstance(outcome, InvalidMask):
        return _refused(Reason.INVALID_MASK, str(outcome))
    return _unless_empty(outcome[0])


def _from_polygons(
    polygons: Sequence[list[float] | NDArray[np.float64] | None], height: int, width: int
) -> Segmentation:
    usable: list[NDArray[np.float64]] = []
    dropped: list[Refusal] = []
    # A broken polygon is dropped alone: objects are often drawn as many polygons, and the others
    # still outline the object.
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
    return _unless_empty(rle, tuple(dropped))


def _unless_empty(rle: Rle, dropped: tuple[Refusal, ...] = ()) -> Segmentation:
    if masks.is_empty(rle):
        return _refused(Reason.EMPTY_MASK, "the mask has no pixel in the image", dropped)
    return Segmentation(rle, dropped)


def _outline(polygon: list[float] | NDArray[np.float64] | None) -> NDArray[np.float64] | Refusal:
    """Return x0, y0, x1, y1, … as a (n,) float64 array in pixels, or why it is dropped."""
    if polygon is None:
        return Refusal(Reason.INVALID_POLYGON, "not a list of finite numbers")
    if len(polygon) < MIN_NUMBERS:
        return Refusal(Reason.SHORT_POLYGON, f"{len(polygon)} numbers")
    points = np.asarray(polygon, np.float64)
    reach = max(float(points.max()), -float(points.min()))
    if reach > MAX_COORDINATE:
        return Refusal(Reason.INVALID_POLYGON, f"a coordinate of {reach:g} px")
    # Cheap upper bound first: there are len(points) / 2 edges of at most 2 * reach.
    if reach * len(points) > MAX_OUTLINE and _length(points) > MAX_OUTLINE:
        return Refusal(Reason.INVALID_POLYGON, f"an outline of over {MAX_OUTLINE:g} px")
    return points


def _length(points: NDArray[np.float64]) -> float:
    """Return the length of a closed outline in pixels, each edge along its longer axis."""
    # pycocotools ignores a last number without a partner.
    corners = points[: len(points) // 2 * 2].reshape(-1, 2)
    return float(np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1).sum())
