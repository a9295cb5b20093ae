"""Contrasting samples: the answers differ where the sampler counts them, and no rule is broken."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixedparts.pairing.admissible import PairSpace
from mixedparts.pairing.balanced_sampler import BalancedSampler
from mixedparts.pairing.contrast import sides
from mixedparts.pairing.contrast_sampler import ContrastSampler
from mixedparts.pairing.random_streams import philox
from mixedparts.pairing.sample_space import SampleSpace
from mixedparts.records import Task
from tests.factories.entities import Indexed, comparable, indices
from tests.oracles.admissible_samples import Thing, admissible
from tests.oracles.contrast import contrasted

ALL = 1 << 30
TASKS = st.sampled_from(tuple(Task))
SHARES = st.sampled_from((0.1, 0.5, 1.0))


def cell(drawn: Indexed, task: Task, share: float, limit: int | None = None) -> ContrastSampler:
    space = SampleSpace(PairSpace(drawn.index, comparable), task, 2)
    return ContrastSampler(space, limit, philox(3, "cell"), share)


def samples_of(cell: BalancedSampler, drawn: Indexed) -> list[frozenset[Thing]]:
    """The samples of a cell; none may come twice."""
    by_row = {thing.row: thing for thing in drawn.things}
    found = [frozenset(by_row[int(row)] for row in rows) for rows in cell.rows()]
    assert len(set(found)) == len(found) == cell.number
    return found


def as_rows(samples: list[frozenset[Thing]]) -> set[frozenset[int]]:
    return {frozenset(thing.row for thing in sample) for sample in samples}


@settings(max_examples=80, deadline=None)
@given(indices(most=16), TASKS, SHARES)
def test_all_that_is_admissible_can_be_had(drawn: Indexed, task: Task, share: float) -> None:
    wanted = admissible(drawn.things, task, 2, comparable, drawn.sources)
    mine = cell(drawn, task, share)
    assert mine.sample(ALL, relax=True) == len(wanted)
    found = samples_of(mine, drawn)
    assert as_rows(found) == wanted
    assert mine.contrasted == contrasted(task, found, drawn.things)


@settings(max_examples=80, deadline=None)
@given(indices(most=16), TASKS, SHARES, st.integers(1, 30), st.booleans())
def test_fewer_are_distinct_and_admissible_and_counted(
    drawn: Indexed, task: Task, share: float, number: int, relax: bool
) -> None:
    wanted = admissible(drawn.things, task, 2, comparable, drawn.sources)
    mine = cell(drawn, task, share)
    assert mine.sample(number // 2, relax) <= number // 2
    assert mine.sample(number, relax) <= min(number, len(wanted))
    if relax:
        assert mine.number == min(number, len(wanted))
    found = samples_of(mine, drawn)
    assert as_rows(found) <= wanted
    assert mine.contrasted == contrasted(task, found, drawn.things)


@settings(max_examples=60, deadline=None)
@given(indices(most=16), TASKS, SHARES, st.integers(1, 4))
def test_a_limit_that_was_asked_for_is_kept_and_used_up(
    drawn: Indexed, task: Task, share: float, limit: int
) -> None:
    wanted = admissible(drawn.things, task, 2, comparable, drawn.sources)
    image_of = {thing.row: thing.image for thing in drawn.things}
    mine = cell(drawn, task, share, limit)
    mine.sample(ALL, relax=True)
    found = as_rows(samples_of(mine, drawn))
    uses = Counter(image_of[row] for sample in found for row in sample)
    assert max(uses.values(), default=0) <= limit
    for other in wanted - found:
        assert any(uses[image_of[row]] == limit for row in other)


def crowd(two_classes: bool = False) -> Indexed:
    """600 images of two comparable classes, each with its own parts; or two of four in each."""
    rng = np.random.default_rng(0)
    twos = list(combinations(range(4), 2))
    both = [(image, name) for image in range(600) for name in twos[image % 6]]
    places = both if two_classes else [(image, 2 * (image % 2)) for image in range(600)]
    parts = rng.random((len(places), 6)) < 0.5
    parts[:, 0] = True
    return Indexed.of(places, parts, np.ones(len(places), bool))


@pytest.mark.parametrize("task", list(Task))
def test_the_share_is_reached_and_use_stays_even(task: Task) -> None:
    drawn = crowd(two_classes=task is Task.COMMON_OBJECT)
    plain = BalancedSampler(
        SampleSpace(PairSpace(drawn.index, comparable), task, 2), None, philox(3, "cell")
    )
    plain.sample(900, relax=False)
    natural = sides(task, drawn.index, plain.rows() - 7).contrasted().mean()
    for share in (0.2 + 0.8 * natural, 0.95):
        mine = cell(drawn, task, share)
        assert mine.sample(900, relax=False) == 900
        found = samples_of(mine, drawn)
        assert mine.contrasted >= share * 900
        uses = Counter(thing.image for sample in found for thing in sample)
        # The even use is 3: half of it for every image, twice of it at most.
        assert mine.limit == plain.limit == 6
        assert min(uses[image] for image in range(600)) >= 2
        assert max(uses.values()) <= 6
        pairs = Counter(tuple(sorted(thing.name for thing in sample)) for sample in found)
        assert max(pairs.values()) <= 1.5 * min(pairs.values())
        assert mine.class_pairs == plain.class_pairs == len(pairs)


def test_images_that_contrast_with_nothing_still_get_their_samples() -> None:
    # Only the first 99 images have two classes; the others tell their class alone.
    twos = list(combinations((0, 2, 3), 2))
    places = [(image, name) for image in range(99) for name in twos[image % 3]]
    places += [(image, 0) for image in range(99, 400)]
    drawn = Indexed.of(places, np.ones((499, 1), bool), np.ones(499, bool))
    mine = cell(drawn, Task.COMMON_OBJECT, 1.0)
    assert mine.sample(1_000, relax=False) == 1_000
    uses = Counter(thing.image for sample in samples_of(mine, drawn) for thing in sample)
    assert min(uses[image] for image in range(400)) >= 3
    assert 0.2 * 1_000 < mine.contrasted < 1_000


def test_the_same_seed_gives_the_same_samples() -> None:
    drawn = crowd()
    one, two = (cell(drawn, Task.UNIQUE_PARTS, 0.7) for _ in range(2))
    one.sample(900, relax=True)
    two.sample(900, relax=True)
    assert (one.rows() == two.rows()).all()
