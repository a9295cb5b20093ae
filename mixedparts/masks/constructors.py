"""Make masks: from polygons, run lengths, strings, label maps and dense arrays.

Every function returns canonical runs (see `mixedparts.masks`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from mixedparts.masks.rle import InvalidMask, Rle, from_coco
from mixedparts.masks.run_lengths import (
    canonical,
    decode_numbers,
    is_canonical,
    string_lengths,
    undo_differences,
)


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
    return from_coco(rles[0] if len(rles) == 1 else coco_mask.merge(rles))


def from_polygon_lists(
    lists: Sequence[Sequence[Sequence[float] | NDArray[np.float64]]],
    sizes: Sequence[tuple[int, int]],
) -> list[Rle]:
    """Rasterise the polygons of many masks together; see `from_polygons`.

    Args:
        lists: for each mask at least one polygon: x0, y0, x1, y1, … in pixels, 6 or more numbers.
        sizes: (height, width) in pixels of each mask.

    Returns:
        A mask for each list: the pixels of any of its polygons.
    """
    of_size: dict[tuple[int, int], list[int]] = {}
    for at, size in enumerate(sizes):
        of_size.setdefault(size, []).append(at)
    masks: dict[int, Rle] = {}
    for (height, width), members in of_size.items():
        flat = [polygon for at in members for polygon in lists[at]]
        drawn = coco_mask.frPyObjects(flat, height, width)
        start = 0
        for at in members:
            stop = start + len(lists[at])
            rle = drawn[start] if stop == start + 1 else coco_mask.merge(drawn[start:stop])
            masks[at] = Rle(height, width, rle["counts"])
            start = stop
    return [masks[at] for at in range(len(lists))]


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
    return _compressed(lengths, height, width)


def _compressed(lengths: NDArray[np.int64], height: int, width: int) -> Rle:
    """Return checked run lengths as a mask."""
    counts = {"size": [height, width], "counts": canonical(lengths)}
    return from_coco(coco_mask.frPyObjects(counts, height, width))


def from_string(counts: str | bytes, height: int, width: int) -> Rle:
    """Return a compressed string as a mask, after checking it.

    Args:
        counts: compressed run lengths, column-major, background first.
        height: of the image, in pixels.
        width: of the image, in pixels.

    Returns:
        The mask. Its bytes are those of `counts` if that is canonical.

    Raises:
        InvalidMask: characters outside the code, a cut string, or a wrong sum of runs.
    """
    return _checked(_ascii(counts), height, width)[0]


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
    return from_sized_strings(strings, [(height, width)] * len(strings))


def from_sized_strings(
    strings: Sequence[str | bytes], sizes: Sequence[tuple[int, int]]
) -> list[tuple[Rle, int] | InvalidMask]:
    """Check compressed strings of several images together; see `from_strings`.

    Args:
        strings: compressed run lengths, column-major, background first.
        sizes: (height, width) in pixels of each.

    Returns:
        For each string its mask and area in pixels, or the `InvalidMask` that describes its fault.
    """
    if not strings:
        return []
    try:
        raws = list(map(_ascii, strings))
        areas, odd = _measure_valid(raws, sizes)
    except InvalidMask:
        # At least one string is broken, which is rare. Halving finds which and why, and the others
        # are still checked together.
        if len(strings) == 1:
            return [_outcome(strings[0], *sizes[0])]
        half = len(strings) // 2
        first = from_sized_strings(strings[:half], sizes[:half])
        return first + from_sized_strings(strings[half:], sizes[half:])
    # The same as `Rle(*size, raw)` for each of them, without a call of Python each.
    heights, widths = zip(*sizes, strict=True)
    made = map(tuple.__new__, repeat(Rle), zip(heights, widths, raws, strict=True))
    masks: list[tuple[Rle, int] | InvalidMask] = list(zip(made, areas.tolist(), strict=True))
    for position in odd.tolist():
        masks[position] = _checked(raws[position], *sizes[position])
    return masks


def _measure_valid(
    raws: Sequence[bytes], sizes: Sequence[tuple[int, int]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the area of each string, and the positions of strings that are not canonical.

    Raises:
        InvalidMask: any of the strings is broken.
    """
    values, counts, padded = decode_numbers(raws)
    lengths = undo_differences(values, counts)
    firsts = np.cumsum(counts) - counts
    heights, widths = np.array(list(chain.from_iterable(sizes)), np.int64).reshape(-1, 2).T
    pixels = heights * widths
    # `reduceat` returns a neighbour's number for an empty slice, so `counts.all()` comes first.
    if not counts.all() or (np.add.reduceat(lengths, firsts) != pixels).any():
        raise InvalidMask
    # The sum does not show this: positive and negative runs can cancel out. It cannot wrap around,
    # as a number has at most 30 bits.
    if lengths.min() < 0:
        raise InvalidMask
    # Foreground runs are those at odd positions of their own string.
    odd = (np.arange(lengths.size) - np.repeat(firsts, counts)) & 1
    areas: NDArray[np.int64] = np.add.reduceat(lengths * odd, firsts)
    # A first run of zero is canonical: the mask covers the first pixel. The one exception, a zero
    # in front of another zero, is found by the second.
    empty = lengths == 0
    empty[firsts] = False
    strange = np.concatenate((np.flatnonzero(empty), padded))
    return areas, np.unique(np.searchsorted(firsts, strange, side="right") - 1)


def _outcome(counts: str | bytes, height: int, width: int) -> tuple[Rle, int] | InvalidMask:
    try:
        return _checked(_ascii(counts), height, width)
    except InvalidMask as error:
        return error


def _checked(raw: bytes, height: int, width: int) -> tuple[Rle, int]:
    """Return one string as a mask with its area.

    Raises:
        InvalidMask: characters outside the code, a cut string, or a wrong sum of runs.
    """
    # The C code trusts a string: it measures and merges runs that do not fit the image.
    lengths, padded = string_lengths(raw)
    _check_lengths(lengths, height, width)
    pixels = int(lengths[1::2].sum())
    if padded or not is_canonical(lengths):
        return _compressed(lengths, height, width), pixels
    return Rle(height, width, raw), pixels


def _ascii(counts: str | bytes) -> bytes:
    try:
        return counts.encode("ascii") if isinstance(counts, str) else bytes(counts)
    except UnicodeEncodeError:
        raise InvalidMask("the run-length string contains characters outside its code") from None


def _check_lengths(lengths: NDArray[np.int64], height: int, width: int) -> None:
    """Raise InvalidMask unless the run lengths cover an image of this size."""
    # The sum alone does not show this: positive and negative runs can cancel out, and a sum of
    # huge runs can wrap around in 64 bits to the right number.
    if lengths.size and not 0 <= int(lengths.min()) <= int(lengths.max()) <= height * width:
        raise InvalidMask(f"a run length is negative or over {height} x {width} pixels")
    if int(lengths.sum()) != height * width:
        raise InvalidMask(f"the runs do not cover {height} x {width} pixels")


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
    return from_coco(coco_mask.encode(np.asfortranarray(dense != 0, dtype=np.uint8)))
