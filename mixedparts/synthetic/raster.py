"""Turn overlapping shapes into disjoint masks, and into polygons that rasterise to these masks.

Masks are `(H, W)` bool on the image grid. Polygons are lists x0, y0, x1, y1, … in pixels; (0, 0)
is the upper left corner of the upper left pixel. An owner is the object or part that shapes
belong to. Invariant of this module: the mask of a list of polygons is what pycocotools rasterises
from it, and exactly these pixels are painted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from mixedparts import masks
from mixedparts.synthetic.overlay import difference, intersection, union, union_all

Mask = NDArray[np.bool_]
Polygons = list[list[float]]

_EMPTY: BaseGeometry = shapely.Polygon()
_SLIVER = 0.1  # square pixels; smaller holes and pieces come from rounding and are ignored


@dataclass(frozen=True, slots=True)
class Cut:
    """The visible area of one owner: its mask and polygons that rasterise to exactly that mask."""

    mask: Mask
    polygons: Polygons


def rasterise(polygons: Polygons, height: int, width: int) -> Mask:
    """Return the pixels that pycocotools gives to these polygons together.

    Args:
        polygons: in pixels.
        height: of the image in pixels.
        width: of the image in pixels.

    Returns:
        `(height, width)` bool.
    """
    if not polygons:
        return np.zeros((height, width), dtype=bool)
    return masks.decode(masks.from_polygons(polygons, height, width)).astype(bool)


def rings(area: BaseGeometry, tolerance: float = 0.0, origin: tuple[int, int] = (0, 0)) -> Polygons:
    """Return an area as polygons without holes, to a hundredth of a pixel.

    COCO polygons have no holes. A polygon with holes is cut in two along a column border through
    one of them, until none is left. Pixels are sampled at column centres, so the cut is invisible.

    Args:
        area: in pixels.
        tolerance: largest distance in pixels by which corners may be simplified.
        origin: (x, y) that becomes (0, 0).

    Returns:
        Closed lines without their repeated last point.
    """
    if tolerance:
        area = area.simplify(tolerance)
    done: Polygons = []
    todo = [area]
    while todo:
        piece = todo.pop()
        if piece.geom_type != "Polygon":
            todo.extend(part for part in shapely.get_parts(piece) if part.area > _SLIVER)
            continue
        holes = []
        if shapely.get_num_interior_rings(piece):
            holes = [hole for hole in piece.interiors if shapely.Polygon(hole).area > _SLIVER]
        if not holes:
            points = shapely.get_coordinates(shapely.get_exterior_ring(piece))
            done.append((points[:-1] - origin).round(2).ravel().tolist())
            continue
        piece = shapely.Polygon(piece.exterior, holes)
        left, top, right, bottom = piece.bounds
        hole_left, _, hole_right, _ = holes[0].bounds
        middle = (hole_left + hole_right) / 2
        # A hole narrower than a column has no border inside; any cut through it will do.
        cut = round(middle) if hole_left < round(middle) < hole_right else middle
        # One pixel beyond the bounds, so that no outer edge lies on the edge of the box.
        for half in ((left - 1, cut), (cut, right + 1)):
            box = shapely.box(half[0], top - 1, half[1], bottom + 1)
            todo.append(intersection(piece, box))
    # Fewer than three points have no area; pycocotools would read four numbers as a box.
    return [ring for ring in done if len(ring) >= 6]


def trace(mask: Mask) -> Polygons:
    """Return polygons along pixel borders that rasterise to exactly this mask."""
    # One box for each horizontal run of pixels; the union joins them.
    height, width = mask.shape
    padded = np.zeros((height, width + 2), dtype=np.int8)
    padded[:, 1:-1] = mask
    steps = np.diff(padded, axis=1)
    rows, starts = np.nonzero(steps == 1)
    stops = np.nonzero(steps == -1)[1]
    return rings(union_all(shapely.box(starts, rows, stops, rows + 1)))


def cut_visible(layers: list[tuple[int, BaseGeometry]], height: int, width: int) -> dict[int, Cut]:
    """Give every pixel to at most one owner.

    Args:
        layers: (owner, area in pixels) from back to front. An owner may have several layers.
            Negative owners hide what is behind them; their polygons are not used.
        height: of the image in pixels.
        width: of the image in pixels.

    Returns:
        The visible area of each owner; the masks are disjoint. Where the polygons of two owners
        claim one pixel along a shared border, the owner nearer to the viewer keeps it, and the
        polygons of the other are traced anew.
    """
    frame = shapely.box(0, 0, width, height)
    visible: dict[int, list[BaseGeometry]] = {}
    covered = _EMPTY
    # From front to back: what is visible of a layer is what no layer before it covers.
    for owner, area in reversed(layers):
        shown = area if frame.contains(area) else intersection(area, frame)
        visible.setdefault(owner, []).append(difference(shown, covered))
        covered = union(covered, area)
    # Areas are disjoint now, but their rasters can still meet in a pixel of a shared border. The
    # dict is in the order of insertion, so owners nearer to the viewer come first here too.
    taken = np.zeros((height, width), dtype=bool)
    cuts = {}
    for owner, pieces in visible.items():
        area = union_all(pieces) if len(pieces) > 1 else pieces[0]
        polygons = rings(area, 0.2)
        mask = rasterise(polygons, height, width)
        if (mask & taken).any():
            mask &= ~taken
            polygons = trace(mask) if owner >= 0 else []
        taken |= mask
        cuts[owner] = Cut(mask, polygons)
    return cuts


def stamp(areas: Sequence[tuple[int, BaseGeometry]], height: int, width: int) -> NDArray[np.uint8]:
    """Paint values over areas from back to front.

    This is a fast approximation for checks of visibility; masks come from `cut_visible` and
    `label_shapes`.

    Args:
        areas: (value, area in pixels) from back to front.
        height: of the image in pixels.
        width: of the image in pixels.

    Returns:
        `(height, width)` uint8, 0 where nothing was painted.
    """
    painted = np.zeros((height, width), np.uint8)
    for value, area in areas:
        # By pycocotools, whose rasters are the same in every version. OpenCV's `fillPoly` paints
        # fewer pixels since 4.11, and scenes that just pass a check would depend on that.
        painted[rasterise(rings(area), height, width)] = value
    return painted


def label_shapes(
    shapes: list[tuple[int, BaseGeometry]], inside: dict[int, Mask], height: int, width: int
) -> NDArray[np.int16]:
    """Return the map of shapes: 0 for none, else 1 + the index of the shape that is on top.

    Args:
        shapes: (owner, area in pixels) from back to front.
        inside: the owners' masks; a shape is painted inside its owner's mask only.
        height: of the image in pixels.
        width: of the image in pixels.

    Returns:
        `(height, width)` int16, non-zero exactly where some mask is set. Pixels of a mask that the
        raster of no shape reaches, along rounded borders, go to a neighbouring shape of that mask.
    """
    labels = np.zeros((height, width), dtype=np.int16)
    first: dict[int, int] = {}
    areas = np.array([area for _, area in shapes], dtype=object)
    # The bounds of an empty area are NaN; its loop below skips it.
    corners = np.nan_to_num(shapely.bounds(areas)).astype(int) + np.array([-1, -1, 2, 2])
    windows = np.clip(corners, 0, [width, height, width, height]).tolist()
    for index, (owner, area) in enumerate(shapes, start=1):
        first.setdefault(owner, index)
        x0, y0, x1, y1 = windows[index - 1]
        if area.is_empty or x0 >= x1 or y0 >= y1:
            continue
        # The window is only for speed: a raster moved by whole pixels stays the same.
        drawn = rasterise(rings(area, origin=(x0, y0)), y1 - y0, x1 - x0)
        labels[y0:y1, x0:x1][drawn & inside[owner][y0:y1, x0:x1]] = index
    for owner, mask in inside.items():
        hole = mask & (labels == 0)
        # Labels of this mask grow into its holes by two pixels; what is farther gets the owner's
        # first shape, so that no pixel of a mask stays unpainted.
        if hole.any():
            own = np.where(mask, labels, 0).astype(np.int16)
            labels[hole] = cv2.dilate(own, np.ones((3, 3), np.uint8), iterations=2)[hole]
            labels[mask & (labels == 0)] = first[owner]
    return labels
