"""Laws of the overlays: none fails, whatever the areas; sizes of clear areas add up."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

import mixedparts.synthetic
from mixedparts.synthetic.overlay import difference, intersection, union, union_all

# Few places for the corners, so that edges nearly coincide often.
_corner = st.sampled_from([0.0, 1e-9, 1.0, 1.75, 2.0, 3.0, 9.0, 12.0, 19.875]).map(float)
_points = st.lists(st.tuples(_corner, _corner), min_size=3, max_size=6)
_coarse = st.integers(0, 12).map(float)
_valid = (
    st.lists(st.tuples(_coarse, _coarse), min_size=3, max_size=6)
    .map(shapely.Polygon)
    .filter(lambda area: bool(area.is_valid))
)
# Areas that cross themselves are included: they are what makes an overlay fail most often.
_areas = _points.map(shapely.Polygon)


@settings(max_examples=300)
@given(_areas, _areas)
def test_no_overlay_fails(one: shapely.Polygon, other: shapely.Polygon) -> None:
    for overlay in (intersection, difference, union):
        assert overlay(one, other).area >= 0
    assert union_all([one, other, one]).area >= 0


@settings(max_examples=200)
@given(_valid, _valid)
def test_sizes_of_clear_areas_add_up(one: shapely.Polygon, other: shapely.Polygon) -> None:
    shared, rest = intersection(one, other).area, difference(one, other).area
    # Where the grid is needed, it moves every corner by at most a thousandth.
    assert shared + rest == pytest.approx(one.area, abs=0.2)
    assert union(one, other).area == pytest.approx(other.area + rest, abs=0.2)
    assert union_all([one, other]).area == pytest.approx(other.area + rest, abs=0.2)


def test_every_overlay_of_the_package_is_one_of_these() -> None:
    own = re.compile(r"\.(union|union_all|unary_union|intersection|difference)\(")
    folder = Path(mixedparts.synthetic.__path__[0])
    found = {path.name for path in folder.glob("*.py") if own.search(path.read_text("utf-8"))}
    assert found == set()
