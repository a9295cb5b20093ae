"""Pairing against the obvious way: look at every two entities."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixedparts.pairing import admissible as module
from mixedparts.pairing.admissible import PairSpace
from mixedparts.records import Task
from tests.factories.entities import Indexed, comparable, indices
from tests.oracles.admissible_samples import admissible


@settings(max_examples=60, deadline=None)
@given(indices(), st.sampled_from([1, 5, 1 << 18]))
def test_counts_and_numbers_equal_enumeration(drawn: Indexed, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # Products of matrices are computed in blocks of so many numbers.
        patch.setattr(module, "_ONE_THREAD", block)
        space = PairSpace(drawn.index, comparable)
    for task in Task:
        wanted = admissible(drawn.things, task, 2, comparable, drawn.sources)
        mine = [pair for pair in space.class_pairs if pair.task is task]
        found: list[frozenset[int]] = []
        for pair in mine:
            numbering = space.numbering(pair)
            members = numbering.pairs(np.arange(numbering.total))
            members = members[np.diff(drawn.index.images[members])[:, 0] != 0]
            assert len(members) == pair.capacity > 0
            found += [frozenset(map(int, row)) for row in drawn.index.rows[members]]
        assert len(found) == len(set(found))
        assert set(found) == wanted


@settings(max_examples=40, deadline=None)
@given(indices(one_an_image=True))
def test_partners_equal_enumeration(drawn: Indexed) -> None:
    space = PairSpace(drawn.index, comparable)
    for task in Task:
        wanted = admissible(drawn.things, task, 2, comparable, drawn.sources)
        degrees = Counter(row for pair in wanted for row in pair)
        assert space.partners[task].tolist() == [degrees[int(row)] for row in drawn.index.rows]


def test_numbering_can_be_restricted() -> None:
    parts = np.array([[1, 0], [1, 0], [0, 1], [1, 1]], bool)
    drawn = Indexed.of([(0, 0), (1, 0), (2, 0), (3, 0)], parts, np.ones(4, bool))
    space = PairSpace(drawn.index, comparable)
    (pair,) = (pair for pair in space.class_pairs if pair.task is Task.UNIQUE_PARTS)
    assert pair.capacity == 5
    numbering = space.numbering(pair, np.array([True, False, True, True]))
    found = {frozenset(map(int, row)) for row in numbering.pairs(np.arange(numbering.total))}
    assert found == {frozenset((0, 2)), frozenset((0, 3)), frozenset((2, 3))}
