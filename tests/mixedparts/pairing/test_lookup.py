"""Ranks of equals, and rows that fit the remaining capacity."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mixedparts.pairing.lookup import all_fit, firsts, ranks


@given(st.lists(st.integers(0, 5), max_size=40))
def test_ranks_count_earlier_equals(keys: list[int]) -> None:
    wanted = [keys[:at].count(key) for at, key in enumerate(keys)]
    assert ranks(np.array(keys, np.int64)).tolist() == wanted


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(4, 7)), max_size=30))
def test_rows_that_fit_never_take_more_room_than_there_is(rows: list[tuple[int, int]]) -> None:
    images = np.array(rows, np.int64).reshape(-1, 2)
    room = np.array([0, 1, 2, 3, 1, 2, 0, 9])
    served = all_fit(images, room)
    assert (np.bincount(images[served].reshape(-1), minlength=8) <= room).all()
    with_room = [at for at, row in enumerate(rows) if room[list(row)].all()]
    if with_room and all(room[list(row)].all() for row in rows):
        assert served[0]


@given(st.lists(st.integers(0, 6) | st.integers(0, 2**64 - 1), max_size=40))
def test_firsts_are_what_numpy_calls_unique(keys: list[int]) -> None:
    given_keys = np.array(keys, np.uint64)
    found = firsts(given_keys)
    wanted = np.unique(given_keys, return_index=True)
    assert [part.tolist() for part in found] == [part.tolist() for part in wanted]
    assert found[0].dtype == np.uint64
