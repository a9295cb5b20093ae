"""Random closed outlines, many at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LEAST_RADIUS = 4.0  # pixels; an outline of this size still covers pixels whatever its shape
_WAVES = np.arange(1, 5)[:, None]
# Corners of LVIS polygons: median 21, mean 29, one in a hundred above 137.
_CORNERS, _SPREAD, _FEWEST, _MOST = 21.0, 0.78, 4, 300


@dataclass(frozen=True, slots=True)
class Places:
    """Where outlines are.

    Attributes:
        x, y: (n,) float64, centers in pixels.
        radius: (n,) float64, mean distances from the center in pixels.
        width, height: (n,) int64, sizes of their images in pixels.
    """

    x: Floats
    y: Floats
    radius: Floats
    width: NDArray[np.int64]
    height: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.x)

    def inner(self, owners: NDArray[np.int64], rng: Generator, spread: float = 0.4) -> Places:
        """Return one smaller place inside or near each of the places that `owners` lists.

        Args:
            owners: (n,) int64, indices of places.
            rng: source of the random numbers.
            spread: standard deviation of the distance of both centers, in radii of the owner.

        Returns:
            n places.
        """
        radius = self.radius[owners]
        offset = rng.normal(0, spread, (2, len(owners))) * radius
        size = np.maximum(LEAST_RADIUS, radius * rng.uniform(0.15, 0.6, len(owners)))
        return _placed(self, owners, offset, size)

    def pieces(self, owners: NDArray[np.int64], counts: NDArray[np.int64]) -> Places:
        """Return the places of the polygons of cut objects, side by side in their object.

        Args:
            owners: (m,) int64, the object of each polygon, ascending.
            counts: (m,) int64, the number of polygons of this object.

        Returns:
            m places; together they are about as large as the object.
        """
        first = np.r_[True, owners[1:] != owners[:-1]]
        number = np.arange(len(owners)) - np.maximum.accumulate(
            np.where(first, np.arange(len(owners)), 0)
        )
        radius = self.radius[owners]
        turn = 2 * np.pi * number / counts
        offset = np.stack([np.cos(turn), np.sin(turn)]) * np.where(counts > 1, 0.7, 0.0) * radius
        return _placed(self, owners, offset, np.maximum(LEAST_RADIUS, radius / counts**0.5))


def _placed(places: Places, owners: NDArray[np.int64], offset: Floats, radius: Floats) -> Places:
    """Return places at an offset from their owners, their centers well inside the image."""
    width, height = places.width[owners], places.height[owners]
    x = np.clip(places.x[owners] + offset[0], LEAST_RADIUS, width - LEAST_RADIUS)
    y = np.clip(places.y[owners] + offset[1], LEAST_RADIUS, height - LEAST_RADIUS)
    return Places(x, y, radius, width, height)


def object_places(
    width: NDArray[np.int64],
    height: NDArray[np.int64],
    share: Floats,
    rng: Generator,
) -> Places:
    """Draw the places of objects.

    Args:
        width: (n,) int64, of the images in pixels.
        height: (n,) int64, as `width`.
        share: (n,) float64 in (0, 1), area of each object as a share of its image.
        rng: source of the random numbers.

    Returns:
        n places.
    """
    radius = np.maximum(LEAST_RADIUS, np.sqrt(share * width * height / np.pi))
    spot = rng.uniform(0.1, 0.9, (2, len(width)))
    return Places(spot[0] * width, spot[1] * height, radius, width, height)


def outlines(places: Places, rng: Generator) -> list[list[float]]:
    """Return an outline x0, y0, x1, y1, … for each place, cut at the border of its image."""
    drawn = rng.lognormal(np.log(_CORNERS), _SPREAD, len(places))
    corners = drawn.round().clip(_FEWEST, _MOST).astype(np.int64)
    ends = corners.cumsum()
    # All corners of all outlines lie one after another in flat arrays; `owner` is their outline.
    owner = np.arange(len(places)).repeat(corners)
    angle = 2 * np.pi * (np.arange(len(owner)) - (ends - corners)[owner]) / corners[owner]
    phase = rng.uniform(0, 2 * np.pi, (4, len(places)))
    height = rng.uniform(0, 0.35, (4, len(places))) / _WAVES
    waves = (height[:, owner] * np.sin(_WAVES * angle + phase[:, owner])).sum(0)
    distance = places.radius[owner] * (1 + waves).clip(0.4)
    stretch = rng.uniform(0.75, 1.35, len(places))[owner]
    x = (places.x[owner] + distance * stretch * np.cos(angle)).clip(0, places.width[owner])
    y = (places.y[owner] + distance / stretch * np.sin(angle)).clip(0, places.height[owner])
    flat = np.stack([x, y], 1).round(2).ravel().tolist()
    begins = (2 * (ends - corners)).tolist()
    return [flat[begin:end] for begin, end in zip(begins, (2 * ends).tolist(), strict=True)]
