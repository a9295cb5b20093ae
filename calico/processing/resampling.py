"""Resample label maps, masks and images by definitions that no library's version changes.

OpenCV, torch and Pillow each have a "nearest" of their own: they differ where the centre of a
target pixel lies on a border of source pixels, and OpenCV's changed with version 5, as did its
`warpAffine`. Labels must not hang on that. Here the arithmetic is of integers, or of float64
operations that IEEE 754 rounds in one way only, so every machine gives the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import csr_array

_ONE = 256  # weights of the linear warp are whole 256ths: products of two fit into 32 bits
_WEIGHT_BITS = 22  # of Pillow's weights: 255 times their sum fits into 31 bits
_SHRUNK = 8  # times; beyond it a result pixel has so many weights that Pillow is no slower
_BLOCK = 64  # rows that are resized at once, so that their sums stay in the processor's cache
_CACHED_VALUES = 1 << 17  # that the warp computes at once, for the same reason as `_BLOCK`


def nearest_places(source: int, target: int) -> NDArray[np.int64]:
    """Return the source pixel of each target pixel along one axis: (target,) int64.

    Target pixel i takes the source pixel that its centre lies in, `floor((i + 1/2) * source /
    target)`; a centre on the border of two pixels takes the right or lower one.
    """
    # ((2i + 1) * source) // (2 * target) is the same in exact integers. It is below `source`,
    # since 2i + 1 is below 2 * target.
    return (2 * np.arange(target, dtype=np.int64) + 1) * source // (2 * target)


def nearest(plane: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize a mask or label map by nearest neighbours, as `nearest_places` defines them.

    Args:
        plane: (H, W) uint8, not empty.
        height: of the result in pixels.
        width: of the result in pixels.

    Returns:
        (height, width) uint8, of values of `plane` only.
    """
    rows = nearest_places(plane.shape[0], height)
    return plane.take(rows, axis=0).take(nearest_places(plane.shape[1], width), axis=1)


def bilinear_rows(pixels: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    """Resize an image along its rows with the arithmetic of Pillow's bilinear filter.

    Pillow gives the same bytes in twice the time: it adds up one number at a time, where a product
    with a sparse matrix adds up whole rows.

    Args:
        pixels: (H, W, 3) uint8, not empty.
        height: of the result in pixels.

    Returns:
        (height, W, 3) uint8.
    """
    if len(pixels) > _SHRUNK * height:
        image = Image.fromarray(pixels)
        return np.asarray(image.resize((image.width, height), Image.Resampling.BILINEAR))
    flat = pixels.reshape(len(pixels), -1)
    resized = np.empty((height, flat.shape[1]), np.uint8)
    start = 0
    for rows, weights in _bilinear_blocks(len(pixels), height):
        sums = weights @ flat[rows].astype(np.int32)
        # Halves go up. No clipping: the weights are positive, and their sum is 1 but for 2^-21.
        sums += 1 << (_WEIGHT_BITS - 1)
        sums >>= _WEIGHT_BITS
        resized[start : start + len(sums)] = sums
        start += len(sums)
    return resized.reshape(height, *pixels.shape[1:])


@lru_cache(maxsize=256)
def _bilinear_blocks(source: int, target: int) -> list[tuple[slice, csr_array]]:
    """Return for each block of target rows its source rows and their weights in 2^-22."""
    first, weights = _bilinear_weights(source, target)
    counts = (weights > 0).sum(1)
    blocks = []
    for start in range(0, target, _BLOCK):
        rows = slice(start, start + _BLOCK)
        low, high = int(first[rows].min()), int((first[rows] + counts[rows]).max())
        places = (first[rows, None] - low + np.arange(weights.shape[1])).astype(np.int32)
        used = np.arange(weights.shape[1]) < counts[rows, None]
        ends = np.concatenate([[0], np.cumsum(counts[rows])]).astype(np.int32)
        values = (weights[rows][used], places[used], ends)
        blocks.append((slice(low, high), csr_array(values, shape=(len(ends) - 1, high - low))))
    return blocks


def _bilinear_weights(source: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the first source pixel of each target pixel and its weights, (target, taps), in 2^-22.

    As `precompute_coeffs` and `normalize_coeffs_8bpc` in Pillow's `Resample.c`, the order of the
    operations included. A weight of 0 can only be the first or the last of a pixel.
    """
    scale = source / target
    support = max(scale, 1.0)  # of the triangle, in source pixels to each side
    centres = (np.arange(target) + 0.5) * scale
    first = np.maximum((centres - support + 0.5).astype(np.int64), 0)
    stop = np.minimum((centres + support + 0.5).astype(np.int64), source)
    shares = np.zeros((target, int((stop - first).max())))
    total = np.zeros(target)
    for tap in range(shares.shape[1]):
        distance = np.abs((tap + first - centres + 0.5) * (1.0 / support))
        shares[:, tap] = np.where(tap < stop - first, np.maximum(1.0 - distance, 0.0), 0.0)
        total += shares[:, tap]
    whole = (shares / total[:, None] * (1 << _WEIGHT_BITS) + 0.5).astype(np.int32)
    # So that the weights of a pixel are its first taps.
    leading = (whole[:, 0] == 0) & (first + 1 < stop)
    whole[leading] = np.roll(whole[leading], -1, axis=1)
    return first + leading, whole


@dataclass(frozen=True, slots=True)
class Warp:
    """A scaling and shift along one axis: source x goes to `scale * x + shift`.

    Attributes:
        scale: not 0; negative to mirror.
        shift: in pixels. Whole numbers are centres of pixels.
    """

    scale: float
    shift: float

    def sources(self, size: int) -> NDArray[np.float64]:
        """Return the source coordinate of each target pixel: (size,) float64, in pixels."""
        return (np.arange(size, dtype=np.float64) - self.shift) / self.scale


def warp_labels(plane: NDArray[np.uint8], down: Warp, right: Warp) -> NDArray[np.uint8]:
    """Move a label map by nearest neighbours; what comes from outside of it is 0.

    Args:
        plane: (H, W) uint8.
        down: along the rows.
        right: along the columns.

    Returns:
        (H, W) uint8.
    """
    height, width = plane.shape
    rows = np.floor(down.sources(height) + 0.5).astype(np.int64)
    columns = np.floor(right.sources(width) + 0.5).astype(np.int64)
    moved = plane.take(rows, axis=0, mode="clip").take(columns, axis=1, mode="clip")
    moved[(rows < 0) | (rows >= height)] = 0
    moved[:, (columns < 0) | (columns >= width)] = 0
    return moved


def warp_pixels(pixels: NDArray[np.uint8], down: Warp, right: Warp) -> NDArray[np.uint8]:
    """Move an image by linear interpolation; beyond its edges it is mirrored.

    Args:
        pixels: (H, W, C) uint8.
        down: along the rows.
        right: along the columns.

    Returns:
        (H, W, C) uint8, halves rounded up.
    """
    height, width, channels = pixels.shape
    upper, lower, below = _linear_places(down.sources(height), height)
    left, after, beside = _linear_places(right.sources(width), width)
    rows = below.astype(np.uint16)[:, None, None]
    columns = beside.astype(np.uint32)[:, None]
    moved = np.empty_like(pixels)
    step = max(1, _CACHED_VALUES // (width * channels))
    for start in range(0, height, step):
        block = slice(start, start + step)
        # Along the rows first: whole rows are copied. At most 255 * 256 fits into 16 bits.
        mixed = pixels[upper[block]] * (np.uint16(_ONE) - rows[block])
        mixed += pixels[lower[block]] * rows[block]
        total = mixed.take(left, axis=1) * (np.uint32(_ONE) - columns)
        total += mixed.take(after, axis=1) * columns
        total += np.uint32(_ONE * _ONE // 2)
        total //= np.uint32(_ONE * _ONE)
        moved[block] = total
    return moved


def _linear_places(
    sources: NDArray[np.float64], size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return two neighbours of each coordinate, mirrored into the image, and the second's share.

    Args:
        sources: (n,) coordinates in pixels.
        size: of the image along the axis.

    Returns:
        Two (n,) int64 of places in [0, size), and (n,) int64 weights in 256ths.
    """
    whole = np.floor(sources)
    weights = np.floor((sources - whole) * _ONE + 0.5).astype(np.int64)
    first = whole.astype(np.int64)

    def mirrored(places: NDArray[np.int64]) -> NDArray[np.int64]:
        # The edge pixel is repeated: … 1 0 | 0 1 2 … with a period of twice the size.
        places = places % (2 * size)
        return np.minimum(places, 2 * size - 1 - places)

    return mirrored(first), mirrored(first + 1), weights
