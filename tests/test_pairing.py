"""Pairing against the obvious way: look at every two entities."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixedparts import pairing
from mixedparts.pairing import EntityIndex, PairSpace
from mixedparts.records import Task

NAMES = ("chair", "mug", "sofa", "stool")
COMPARABLE = {("chair", "sofa"), ("sofa", "stool")}
Key = tuple[Task, int, int]


def comparable(first: str, second: str) -> bool:
    return (first, second) in COMPARABLE


@st.composite
def indices(draw: st.DrawFn) -> EntityIndex:
    places = draw(st.sets(st.tuples(st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=25))
    keys = np.array(sorted(places))
    number = len(keys)
    flags = st.lists(st.booleans(), min_size=number * 4, max_size=number * 4)
    parts = np.array(draw(flags)).reshape(number, 4)
    known = np.array(draw(st.lists(st.booleans(), min_size=number, max_size=number)))
    parts[~known] = False
    return EntityIndex(np.arange(number) + 7, keys[:, 0], keys[:, 1], NAMES, parts, known)


def every_pair(index: EntityIndex) -> dict[Key, set[frozenset[int]]]:
    """The admissible pairs by their definition, as sets of entity rows."""
    found: dict[Key, set[frozenset[int]]] = {}
    for i, j in combinations(range(len(index.rows)), 2):
        first, second = sorted((int(index.categories[i]), int(index.categories[j])))
        if index.images[i] == index.images[j]:
            continue
        if first != second and not comparable(NAMES[first], NAMES[second]):
            continue
        pair = frozenset((int(index.rows[i]), int(index.rows[j])))
        one, two = set(np.flatnonzero(index.parts[i])), set(np.flatnonzero(index.parts[j]))
        if first == second:
            found.setdefault((Task.COMMON_OBJECT, first, second), set()).add(pair)
        if not (index.parts_known[i] and index.parts_known[j]):
            continue
        if one & two:
            found.setdefault((Task.COMMON_PARTS, first, second), set()).add(pair)
        if one and two and one ^ two:
            found.setdefault((Task.UNIQUE_PARTS, first, second), set()).add(pair)
    return found


@settings(max_examples=60, deadline=None)
@given(indices())
def test_counts_and_full_draws_equal_enumeration(index: EntityIndex) -> None:
    space = PairSpace(index, comparable)
    wanted = every_pair(index)
    assert {(p.task, p.first, p.second): p.capacity for p in space.class_pairs} == {
        key: len(pairs) for key, pairs in wanted.items()
    }
    for pair in space.class_pairs:
        drawn = space.draw(pair, pair.capacity, 3, "train|x")
        found = {frozenset(map(int, row)) for row in drawn}
        assert len(found) == len(drawn)
        assert found == wanted[pair.task, pair.first, pair.second]


@pytest.mark.parametrize("enumerable", [0, 1 << 22])
def test_a_smaller_draw_is_distinct_admissible_and_repeatable(
    enumerable: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairing, "_ENUMERABLE", enumerable)
    rng = np.random.default_rng(0)
    parts = rng.random((40, 5)) < 0.5
    index = EntityIndex(
        np.arange(40), np.arange(40) // 2, np.arange(40) % 2 * 2, NAMES, parts, np.ones(40, bool)
    )
    space = PairSpace(index, comparable)
    wanted = every_pair(index)
    for pair in space.class_pairs:
        number = pair.capacity // 2
        drawn = space.draw(pair, number, 3, "k")
        found = {frozenset(map(int, row)) for row in drawn}
        assert len(drawn) == len(found) == number
        assert found <= wanted[pair.task, pair.first, pair.second]
        assert (space.draw(pair, number, 3, "k") == drawn).all()
        assert not (space.draw(pair, number, 4, "k") == drawn).all()


def test_either_image_can_come_first() -> None:
    parts = np.ones((30, 1), bool)
    index = EntityIndex(
        np.arange(30), np.arange(30), np.zeros(30, int), ("cup",), parts, np.ones(30, bool)
    )
    space = PairSpace(index, comparable)
    drawn = space.draw(space.class_pairs[0], 400, 0, "k")
    assert 0.3 < (drawn[:, 0] < drawn[:, 1]).mean() < 0.7
