"""Plane shapes that the draw functions are built of.

Frame of coordinates: the drawing's own plane, x to the right, y down, about one unit across. An
affine map takes the shapes to pixels when a drawing becomes part of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import LineString, Polygon
from shapely.geometry.base import BaseGeometry

Point = tuple[float, float]


class Shape(NamedTuple):
    """One painted area of a drawing; later shapes of a drawing cover earlier ones.

    Attributes:
        key: the part it belongs to, in the words of the draw functions (`leg`, `wheel`).
        geometry: a polygonal area in the plane of the drawing, or in pixels once it is placed.
        role: which of the object's colours it has (`main`, `second`, `dark`, `glass`, …).
        shade: factor on that colour's brightness.
        detail: it lies inside earlier shapes of its part and only changes their colour.
    """

    key: str
    geometry: BaseGeometry
    role: str = "main"
    shade: float = 1.0
    detail: bool = False


def polygon(points: Sequence[Point] | NDArray[np.float64]) -> BaseGeometry:
    """Return the area inside a closed line of points, repaired where the line crosses itself."""
    area: BaseGeometry = Polygon(points)
    # `buffer(0)` rebuilds an invalid area; overlays of invalid areas raise errors later.
    return area if area.is_valid else area.buffer(0)


def smooth(points: Sequence[Point], rounds: int = 2) -> BaseGeometry:
    """Return the area inside a closed line after cutting its corners `rounds` times (Chaikin)."""
    line = np.asarray(points, dtype=np.float64)
    for _ in range(rounds):
        following = np.roll(line, -1, axis=0)
        cut = np.stack([0.75 * line + 0.25 * following, 0.25 * line + 0.75 * following], axis=1)
        line = cut.reshape(-1, 2)
    return polygon(line)


def curve(points: Sequence[Point], rounds: int = 2) -> NDArray[np.float64]:
    """Return an open line with its corners cut and its ends fixed, as `(N, 2)` float64 points."""
    line = np.asarray(points, dtype=np.float64)
    for _ in range(rounds):
        cut = np.stack([0.75 * line[:-1] + 0.25 * line[1:], 0.25 * line[:-1] + 0.75 * line[1:]], 1)
        line = np.concatenate([line[:1], cut.reshape(-1, 2), line[-1:]])
    return line


def limb(points: Sequence[Point], width: float) -> BaseGeometry:
    """Return a round-ended stroke along a bent line."""
    return LineString(curve(points)).buffer(width / 2, quad_segs=3)


def bar(start: Point, end: Point, width: float) -> BaseGeometry:
    """Return a straight stroke with flat ends.

    Args:
        start: middle of one end.
        end: middle of the other end.
        width: across the stroke.

    Returns:
        A rectangle in any direction.
    """
    (x0, y0), (x1, y1) = start, end
    # The lower bound avoids a division by zero where both ends coincide.
    length = max(float(np.hypot(x1 - x0, y1 - y0)), 1e-6)
    nx, ny = -(y1 - y0) / length * width / 2, (x1 - x0) / length * width / 2
    return Polygon([(x0 + nx, y0 + ny), (x1 + nx, y1 + ny), (x1 - nx, y1 - ny), (x0 - nx, y0 - ny)])


def ribbon(line: NDArray[np.float64], widths: NDArray[np.float64]) -> BaseGeometry:
    """Return a stroke along `(N, 2)` points with `(N,)` full widths."""
    direction = np.gradient(line, axis=0)
    direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-9)
    normal = np.stack([-direction[:, 1], direction[:, 0]], axis=1) * (widths[:, None] / 2)
    return polygon(np.concatenate([line + normal, (line - normal)[::-1]]))


def ellipse(x: float, y: float, rx: float, ry: float, turn: float = 0.0) -> BaseGeometry:
    """Return an ellipse.

    Args:
        x: of the centre.
        y: of the centre.
        rx: half of the width before the turn.
        ry: half of the height before the turn.
        turn: rotation in radians, from x towards y.

    Returns:
        A polygon of 28 corners on the ellipse.
    """
    angle = np.linspace(0.0, 2 * np.pi, 28, endpoint=False)
    px, py = rx * np.cos(angle), ry * np.sin(angle)
    cos, sin = np.cos(turn), np.sin(turn)
    return Polygon(np.stack([x + px * cos - py * sin, y + px * sin + py * cos], axis=1))


def rectangle(x0: float, y0: float, x1: float, y1: float, radius: float = 0.0) -> BaseGeometry:
    """Return an upright rectangle.

    Args:
        x0: left edge.
        y0: upper edge.
        x1: right edge.
        y1: lower edge.
        radius: of the rounded corners; 0 for sharp ones.

    Returns:
        A polygon.
    """
    if radius <= 0:
        return shapely.box(x0, y0, x1, y1)
    inner: BaseGeometry = shapely.box(x0 + radius, y0 + radius, x1 - radius, y1 - radius)
    return inner.buffer(radius, quad_segs=3)


class Oblique(NamedTuple):
    """A parallel view of a small space: x right, y down, z away from the viewer.

    Attributes:
        dx: how far one unit of depth moves a point to the right; negative to the left.
        dy: how far one unit of depth moves a point up; positive.
    """

    dx: float
    dy: float

    def at(self, x: float, y: float, z: float) -> Point:
        """Project a point of space into the plane.

        Args:
            x: to the right.
            y: down.
            z: away from the viewer.

        Returns:
            (x, y) in the plane of the drawing.
        """
        return x + z * self.dx, y - z * self.dy

    def block(
        self,
        key: str,
        xs: tuple[float, float],
        ys: tuple[float, float],
        zs: tuple[float, float],
        role: str = "main",
        shade: float = 1.0,
    ) -> list[Shape]:
        """Return an upright block: its silhouette in the colour of the front, then top and side.

        Args:
            key: the part it belongs to.
            xs: left and right.
            ys: upper and lower.
            zs: near and far.
            role: colour of the block.
            shade: brightness of the block; top is lighter than front, and side is darker.

        Returns:
            Three shapes; top and side are details of the first.
        """
        (x0, x1), (y0, y1), (z0, z1) = xs, ys, zs
        # Depth moves to the right or left, and only the side towards it is visible.
        near, far = (x0, x1) if self.dx > 0 else (x1, x0)
        at = self.at
        top = [at(x0, y0, z0), at(x1, y0, z0), at(x1, y0, z1), at(x0, y0, z1)]
        side = [at(far, y0, z0), at(far, y0, z1), at(far, y1, z1), at(far, y1, z0)]
        whole = [at(near, y1, z0), at(near, y0, z0), at(near, y0, z1), *side[1:]]
        return [
            Shape(key, polygon(whole), role, shade * 0.92),
            Shape(key, polygon(top), role, shade * 1.12, True),
            Shape(key, polygon(side), role, shade * 0.72, True),
        ]
