"""Resample label maps, masks and images by definitions that no library's version changes.

OpenCV, torch and Pillow each have a "nearest" of their own: they differ where the centre of a
target pixel lies on a border of source pixels, and OpenCV's changed with version 5, as did its
`warpAffine`. Labels must not hang on that. Here the arithmetic is of integers, or of float64
operations that IEEE 754 rounds in one way only, so every machine gives the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ONE = 256  # weights of the linear warp are whole 256ths: products of two fit into 32 bits


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
    upper, lower, below = _linear_places(down.sources(pixels.shape[0]), pixels.shape[0])
    left, after, beside = _linear_places(right.sources(pixels.shape[1]), pixels.shape[1])
    # Along the rows first: whole rows are copied. At most 255 * 256 fits into 16 bits.
    share = below[:, None, None].astype(np.uint16)
    mixed = pixels[upper] * (np.uint16(_ONE) - share) + pixels[lower] * share
    share = beside[:, None].astype(np.uint32)
    total = mixed.take(left, axis=1) * (np.uint32(_ONE) - share) + mixed.take(after, axis=1) * share
    rounded = (total + np.uint32(_ONE * _ONE // 2)) // np.uint32(_ONE * _ONE)
    return np.asarray(rounded, np.uint8)


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
