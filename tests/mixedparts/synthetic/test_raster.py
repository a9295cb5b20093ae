"""Laws of the rasters: disjoint owners, and polygons that give back exactly their mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mixedparts.synthetic.raster import cut_visible, label_shapes, rings, stamp, trace
from tests.oracles.coco_masks import dense

HEIGHT, WIDTH = 24, 31

_coordinate = st.floats(-6, 36, allow_nan=False, width=32).map(lambda value: round(value, 3))
_points = st.lists(st.tuples(_coordinate, _coordinate), min_size=3, max_size=7)
_areas = _points.map(lambda points: shapely.Polygon(points).buffer(0))
_layers = st.lists(st.tuples(st.integers(-1, 3), _areas), min_size=1, max_size=6)
# Slivers of a double-precision overlay that GEOS refuses: "side location conflict at 9 0".
_SLIVERS = [
    shapely.Polygon([(0, 1), (0, 2), (9, 0)]).buffer(0),
    shapely.Polygon([(0, 0), (19.875, 0), (0, 1.75), (0, 3), (12, -1)]).buffer(0),
    shapely.Polygon([(0, 2), (0, 0), (1, 2), (9, 0)]).buffer(0),
]


@given(arrays(bool, st.tuples(st.integers(1, 14), st.integers(1, 14))))
def test_traced_polygons_give_the_mask_back(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
    polygons = trace(mask)
    assert bool(polygons) == bool(mask.any())
    if polygons:
        np.testing.assert_array_equal(dense(polygons, *mask.shape), mask)


@settings(max_examples=150, deadline=None)
@given(_layers)
@example(list(zip((0, 1, 1), _SLIVERS, strict=True)))
@example(list(zip((0, 0, 0), _SLIVERS, strict=True)))
def test_owners_share_no_pixel_and_polygons_are_their_masks(
    layers: list[tuple[int, shapely.Geometry]],
) -> None:
    cuts = cut_visible(layers, HEIGHT, WIDTH)
    assert set(cuts) == {owner for owner, _ in layers}
    claims = np.sum([cut.mask for cut in cuts.values()], axis=0)
    assert claims.max() <= 1
    for owner, cut in cuts.items():
        if owner >= 0 and cut.polygons:
            np.testing.assert_array_equal(dense(cut.polygons, HEIGHT, WIDTH), cut.mask)
        elif owner >= 0:
            assert not cut.mask.any()


@settings(max_examples=100, deadline=None)
@given(_layers)
def test_shape_map_fills_exactly_the_masks(layers: list[tuple[int, shapely.Geometry]]) -> None:
    inside = {owner: cut.mask for owner, cut in cut_visible(layers, HEIGHT, WIDTH).items()}
    labels = label_shapes(layers, inside, HEIGHT, WIDTH)
    np.testing.assert_array_equal(labels != 0, np.any(list(inside.values()), axis=0))
    for index, (owner, _) in enumerate(layers, start=1):
        assert inside[owner][labels == index].all()


def test_holes_stay_open() -> None:
    outer, inner = shapely.Point(15, 12).buffer(10), shapely.Point(15.3, 12.2).buffer(6)
    second = shapely.Point(9, 5).buffer(1.2)
    polygons = rings(outer - inner - second)
    mask = dense(polygons, HEIGHT, WIDTH)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
    centres = shapely.points(columns, rows)
    clear = shapely.distance(centres, (outer - inner - second).boundary) > 0.5
    expected = shapely.contains(outer - inner - second, centres)
    np.testing.assert_array_equal(mask[clear], expected[clear])
    assert not mask[12, 15]
    assert not mask[4, 8]
    assert mask[12, 6]


def test_front_hides_back() -> None:
    back, front = shapely.box(2, 2, 20, 20), shapely.box(10, 5, 30, 15)
    cuts = cut_visible([(0, back), (-1, front), (2, shapely.box(12, 0, 14, 24))], HEIGHT, WIDTH)
    assert cuts[0].mask.sum() == 18 * 18 - 10 * 10 - 2 * 8
    assert cuts[-1].mask.sum() == 20 * 10 - 2 * 10
    assert cuts[2].mask.sum() == 2 * 24
    assert cuts[-1].polygons == [] or dense(cuts[-1].polygons, HEIGHT, WIDTH).any()


def test_stamps_are_the_rasters_of_their_masks() -> None:
    """Not those of OpenCV's `fillPoly`, which paints fewer pixels of a triangle since 4.11."""
    areas = [(3, shapely.box(0, 0, 4, 2)), (7, shapely.Polygon([(0, 0), (0, 4), (5, 0)]))]
    painted = stamp(areas, 4, 5)
    expected = np.zeros((4, 5), np.uint8)
    for value, area in areas:
        expected[dense(rings(area), 4, 5) > 0] = value
    np.testing.assert_array_equal(painted, expected)
    assert painted.tolist() == [[7, 7, 7, 7, 0], [7, 7, 7, 3, 0], [7, 7, 0, 0, 0], [7, 0, 0, 0, 0]]
