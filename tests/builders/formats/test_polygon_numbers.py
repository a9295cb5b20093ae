"""Polygons decoded by simdjson equal those decoded without it, for sound and for broken values."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.formats import segmentation
from builders.formats.polygon_numbers import PolygonNumbers
from builders.formats.segmentation import read_many

pytest.importorskip("simdjson", reason="without it there is one way only")

NUMBER = (
    st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.floats(-20, 50).map(lambda value: round(value, 2))
)
ODD = st.none() | st.booleans() | st.text(max_size=3) | st.lists(NUMBER, max_size=2)
POLYGON = st.lists(NUMBER, max_size=9) | st.lists(st.integers(0, 30) | ODD, min_size=6, max_size=9)
SIZES = [(23, 31), (31, 23), (40, 40)]


class NoSimdjson(PolygonNumbers):
    """Decodes nothing, as where simdjson is not installed."""

    available = False


def without(raws: list[bytes], sizes: list[tuple[int, int]]) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segmentation, "_numbers", NoSimdjson())
        return read_many([msgspec.Raw(raw) for raw in raws], sizes)


@given(st.lists(NUMBER, min_size=1, max_size=40))
def test_every_number_is_the_nearest_float(values: list[float]) -> None:
    decoded = PolygonNumbers().decode(json.dumps([values]).encode())
    if decoded is None:  # integers of over 64 bits are left to msgspec
        assert any(isinstance(value, int) and not -(2**63) <= value < 2**64 for value in values)
    else:
        assert decoded[0].tolist() == [float(value) for value in values]


@given(st.lists(st.lists(POLYGON | ODD, max_size=3) | ODD, max_size=6), st.data())
def test_every_value_has_the_same_result_as_without_simdjson(
    values: list[Any], data: st.DataObject
) -> None:
    sizes = [data.draw(st.sampled_from(SIZES)) for _ in values]
    raws = [json.dumps(value).encode() for value in values]
    assert read_many([msgspec.Raw(raw) for raw in raws], sizes) == without(raws, sizes)


@pytest.mark.parametrize(
    "value", ["[[1, [2, 3], 4, 5, 6, 7]]", "[[[1], 2, 3, 4, 5, 6]]", "[1, 2]", "[[true, 2]]",
              "null", "[[1 2]]", "[[1, 2], 3]", '[["1", 2]]', "[[1e999, 2]]", '{"size": [1]}'],
)  # fmt: skip
def test_anything_but_lists_of_numbers_is_left_to_others(value: str) -> None:
    numbers = PolygonNumbers()
    assert numbers.decode(value.encode()) is None
    # The parser works again after a failure.
    (decoded,) = numbers.decode(b"[[0.1, 2]]") or []
    assert np.array_equal(decoded, [0.1, 2.0])


LISTS = st.lists(st.lists(st.lists(NUMBER, max_size=7) | ODD, max_size=3) | ODD, max_size=5)


@given(LISTS | st.lists(st.lists(st.lists(st.floats(0, 9), min_size=1), min_size=1), max_size=5))
def test_polygons_of_many_values_are_those_of_each(values: list[Any]) -> None:
    numbers = PolygonNumbers()
    raws = [json.dumps(value).encode() for value in values]
    alone = [numbers.decode(raw) for raw in raws]
    sound = all(found and all(map(len, found)) for found in alone)
    together = numbers.decode_many(raws)
    if together is None:  # at least one value has to be looked at alone
        assert not values or not sound
        return
    assert sound
    assert together.counts == [len(found or ()) for found in alone]
    polygons = [polygon for found in alone for polygon in found or ()]
    assert together.lengths == list(map(len, polygons))
    assert together.numbers.tolist() == [number for polygon in polygons for number in polygon]


FAR = st.sampled_from([0.0, 30.5, 99_999.0, 100_000.5, -4e5])
OUTLINE = st.lists(st.floats(-5, 45) | FAR, max_size=12) | st.just(
    [float(k % 40) for k in range(900)]
)
MASKS = st.sampled_from(
    [None, [], "x", {"size": [23, 31], "counts": "_"}, {"size": [40, 40], "counts": "hb10"},
     {"size": [40, 40], "counts": [3, 1597]}, {"size": [23, 31.0], "counts": [700.0, 13]}]
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.lists(OUTLINE, min_size=1, max_size=2) | MASKS, max_size=6), st.data())
def test_many_values_are_read_as_each_alone(values: list[Any], data: st.DataObject) -> None:
    sizes = [data.draw(st.sampled_from(SIZES)) for _ in values]
    raws = [msgspec.Raw(json.dumps(value).encode()) for value in values]
    alone = [read_many([raw], [size])[0] for raw, size in zip(raws, sizes, strict=True)]
    assert read_many(raws, sizes) == alone
