"""Polygons decoded by simdjson equal those decoded without it, for sound and for broken values."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
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
