"""Laws of dividing samples over cells."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mixedparts.pairing.allocation import fill_up, proportional, water_fill

CAPACITIES = st.lists(st.integers(0, 60), min_size=1, max_size=8)


@given(st.integers(0, 300), CAPACITIES)
def test_water_fill_gives_all_that_fits_as_evenly_as_it_can(
    total: int, capacities: list[int]
) -> None:
    share = water_fill(total, capacities)
    assert share.sum() == min(total, sum(capacities))
    assert (share <= capacities).all()
    not_full = share[share < np.array(capacities)]
    if not_full.size:
        assert share.max() - not_full.min() <= 1


def test_water_fill_by_hand() -> None:
    assert water_fill(10, [1, 100, 3]).tolist() == [1, 6, 3]
    assert water_fill(5, [9, 9, 9]).tolist() == [2, 2, 1]
    assert water_fill(7, []).tolist() == []


@given(
    st.integers(0, 300),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 60)), min_size=1, max_size=8),
)
def test_fill_up_takes_nothing_away_and_fills_the_emptiest(
    total: int, cells: list[tuple[int, int]]
) -> None:
    floors = np.array([floor for floor, _ in cells])
    capacities = floors + [more for _, more in cells]
    share = fill_up(total, floors, capacities)
    assert share.sum() == max(floors.sum(), min(total, capacities.sum()))
    assert (floors <= share).all()
    assert (share <= capacities).all()
    grown, open_cells = share[share > floors], share[share < capacities]
    if grown.size and open_cells.size:
        assert grown.max() - open_cells.min() <= 1


@given(st.integers(0, 300), st.lists(st.tuples(st.integers(0, 9), st.integers(0, 60)), min_size=1))
def test_proportional_gives_all_that_fits(total: int, cells: list[tuple[int, int]]) -> None:
    weights, capacities = zip(*cells, strict=True)
    share = proportional(total, weights, capacities)
    assert share.sum() == min(total, sum(capacities))
    assert (share <= capacities).all()
    assert (share >= 0).all()


def test_proportional_by_hand() -> None:
    assert proportional(10, [1, 1, 2], [100, 100, 100]).tolist() == [3, 2, 5]
    assert proportional(10, [1, 1, 2], [100, 100, 2]).tolist() == [4, 4, 2]
    assert proportional(9, [0, 3], [5, 6]).tolist() == [3, 6]
