"""Laws of the overlays: none fails, whatever the areas, and their sizes add up."""

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
# Areas that cross themselves are included: they are what makes an overlay fail most often.
_areas = _points.map(shapely.Polygon)


@settings(max_examples=300)
@given(_areas, _areas)
def test_no_overlay_fails(one: shapely.Polygon, other: shapely.Polygon) -> None:
    for overlay in (intersection, difference, union):
        assert overlay(one, other).area >= 0
    assert union_all([one, other, one]).area >= 0


@settings(max_examples=200)
@given(_areas, _areas)
def test_sizes_add_up(one: shapely.Polygon, other: shapely.Polygon) -> None:
    one, other = one.buffer(0), other.buffer(0)
    shared, rest = intersection(one, other).area, difference(one, other).area
    # A grid of a thousandth moves an edge of 20 by at most a hundredth in area.
    assert shared + rest == pytest.approx(one.area, abs=0.2)
    assert union(one, other).area == pytest.approx(other.area + rest, abs=0.2)
    assert union_all([one, other]).area == pytest.approx(other.area + rest, abs=0.2)


def test_every_overlay_of_the_package_is_one_of_these() -> None:
    own = re.compile(r"\.(union|union_all|unary_union|intersection|difference)\(")
    folder = Path(mixedparts.synthetic.__path__[0])
    found = {path.name for path in folder.glob("*.py") if own.search(path.read_text("utf-8"))}
    assert found == set()
