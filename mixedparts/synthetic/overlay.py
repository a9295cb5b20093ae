"""Union, intersection and difference of areas, also where their edges nearly coincide.

GEOS computes overlays in floating point, and raises an error where rounding makes edges cross that
should only touch. Such an overlay is repeated on a fixed grid, which has no such cases. The grid is
fine for both frames of coordinates: a thousandth of a pixel in an image, and less than a fifth of
a pixel in a drawing, whose unit becomes at most 192 pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

_GRID = 1e-3


def intersection(one: BaseGeometry, other: BaseGeometry) -> BaseGeometry:
    """Return what two areas share."""
    return _robust(shapely.intersection, one, other)


def difference(one: BaseGeometry, other: BaseGeometry) -> BaseGeometry:
    """Return what one area has outside the other."""
    return _robust(shapely.difference, one, other)


def union(one: BaseGeometry, other: BaseGeometry) -> BaseGeometry:
    """Return what two areas cover together."""
    return _robust(shapely.union, one, other)


def union_all(areas: Sequence[BaseGeometry] | NDArray[np.object_]) -> BaseGeometry:
    """Return what any number of areas cover together."""
    return _robust(shapely.union_all, np.asarray(areas, dtype=object))


def _robust(
    overlay: Callable[..., BaseGeometry], *operands: BaseGeometry | NDArray[np.object_]
) -> BaseGeometry:
    """Return an overlay of areas, on the grid where floating-point edges make it fail."""
    try:
        return overlay(*operands)
    except shapely.GEOSException:
        # The overlay on a grid still wants valid areas; `buffer` with distance 0 rebuilds them.
        return overlay(*(shapely.buffer(operand, 0) for operand in operands), grid_size=_GRID)
