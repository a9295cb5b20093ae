"""The rule by which samples are drawn: exact where it promises that, even where it can be."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixedparts.pairing import sample_space
from mixedparts.pairing.admissible import PairSpace
from mixedparts.pairing.balanced_sampler import BalancedSampler
from mixedparts.pairing.random_streams import philox
from mixedparts.pairing.sample_space import SampleSpace
from mixedparts.records import Task
from tests.factories.entities import Indexed, comparable, indices
from tests.oracles.admissible_samples import admissible

ALL = 1 << 30


def cell(drawn: Indexed, task: Task, size: int, limit: int | None = None) -> BalancedSampler:
    space = SampleSpace(PairSpace(drawn.index, comparable), task, size)
    return BalancedSampler(space, limit, philox(3, "cell"))


def sets_of(cell: BalancedSampler) -> set[frozenset[int]]:
    """The samples of a cell as sets of rows; none may come twice."""
    rows = cell.rows()
    found = {frozenset(map(int, row)) for row in rows}
    assert len(found) == len(rows) == cell.number
    return found


@settings(max_examples=60, deadline=None)
@given(indices(most=14), st.sampled_from((2, 3, 4)), st.sampled_from(tuple(Task)))
def test_all_that_is_admissible_can_be_had(drawn: Indexed, size: int, task: Task) -> None:
    wanted = admissible(drawn.things, task, size, comparable, drawn.sources)
    mine = cell(drawn, task, size)
    assert mine.capacity == len(wanted)
    assert mine.sample(ALL, relax=True) == len(wanted)
    assert sets_of(mine) == wanted


@settings(max_examples=60, deadline=None)
@given(
    indices(most=14),
    st.sampled_from((2, 3, 4)),
    st.sampled_from(tuple(Task)),
    st.integers(1, 30),
    st.booleans(),
)
def test_fewer_are_distinct_and_admissible(
    drawn: Indexed, size: int, task: Task, number: int, relax: bool
) -> None:
    wanted = admissible(drawn.things, task, size, comparable, drawn.sources)
    mine = cell(drawn, task, size)
    first = mine.sample(number // 2, relax)
    assert first <= number // 2
    assert mine.sample(number, relax) <= min(number, len(wanted))
    if relax:
        assert mine.number == min(number, len(wanted))
    assert sets_of(mine) <= wanted


@settings(max_examples=60, deadline=None)
@given(indices(most=14), st.sampled_from((2, 3)), st.sampled_from(tuple(Task)), st.integers(1, 4))
def test_a_limit_that_was_asked_for_is_kept_and_used_up(
    drawn: Indexed, size: int, task: Task, limit: int
) -> None:
    wanted = admissible(drawn.things, task, size, comparable, drawn.sources)
    image_of = {thing.row: thing.image for thing in drawn.things}
    mine = cell(drawn, task, size, limit)
    mine.sample(ALL, relax=True)
    found = sets_of(mine)
    uses = Counter(image_of[row] for sample in found for row in sample)
    assert max(uses.values(), default=0) <= limit
    for other in wanted - found:
        assert any(uses[image_of[row]] == limit for row in other)


@pytest.mark.parametrize("listed", [0, 1 << 18])
@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("task", list(Task))
def test_larger_spaces_are_drawn_with_a_list_and_without(
    task: Task, size: int, listed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_space, "_LISTED", listed)
    monkeypatch.setattr(sample_space, "BATCH", 64)
    rng = np.random.default_rng(0)
    places = [(image, name) for image in range(16) for name in (0, 2) if rng.random() < 0.8]
    parts = rng.random((len(places), 5)) < 0.5
    drawn = Indexed.of(places, parts, np.ones(len(places), bool))
    wanted = admissible(drawn.things, task, size, comparable, 1)
    number = len(wanted) // 3
    mine, again = cell(drawn, task, size), cell(drawn, task, size)
    assert mine.sample(number, relax=True) == number
    assert sets_of(mine) <= wanted
    again.sample(number, relax=True)
    assert sets_of(again) == sets_of(mine)


def test_any_image_can_come_first() -> None:
    drawn = Indexed.of(
        [(image, 1) for image in range(30)], np.ones((30, 1), bool), np.ones(30, bool)
    )
    for size in (2, 3):
        mine = cell(drawn, Task.COMMON_OBJECT, size)
        mine.sample(400, relax=True)
        lowest = mine.rows().argmin(axis=1)
        assert (np.bincount(lowest, minlength=size) > 0.7 * 400 / size).all()


def test_rare_class_pairs_are_there_and_no_image_passes_twice_the_even_use() -> None:
    places = [(image, 0 if image < 10 else 1 if image < 100 else 2) for image in range(600)]
    drawn = Indexed.of(places, np.ones((600, 1), bool), np.ones(600, bool))
    mine = cell(drawn, Task.COMMON_OBJECT, 2)
    assert mine.sample(3_000, relax=False) == 3_000
    assert mine.limit == 20
    rows = mine.rows() - 7
    uses = np.bincount(rows.reshape(-1), minlength=600)
    assert uses.max() <= 20
    assert uses.min() >= 4  # half the even use is 5; ten images of nine partners each can have less
    names = np.array([name for _, name in places])[rows[:, 0]]
    rare, middle, common = np.bincount(names)
    assert rare == 45  # every pair of the ten
    assert 890 <= middle <= 900  # what the limit allows, though only 15 % of the images
    assert common == 3_000 - rare - middle


def test_an_image_serves_others_that_have_no_other_partner() -> None:
    parts = np.zeros((110, 2), bool)
    parts[:, 0] = True
    parts[:10, 1] = True  # the only ones that differ from the others
    drawn = Indexed.of([(image, 1) for image in range(110)], parts, np.ones(110, bool))
    mine = cell(drawn, Task.UNIQUE_PARTS, 2)
    mine.sample(330, relax=False)
    uses = np.bincount(mine.rows().reshape(-1) - 7, minlength=110)
    assert mine.limit == 12
    assert np.quantile(uses[10:], 0.05) >= 3  # half the even use, though ten images serve a hundred
    assert uses[:10].max() > 12
