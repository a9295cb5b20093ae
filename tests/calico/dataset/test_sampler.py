"""Batches as a function of seed and step: every sample once an epoch."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import settings as tried
from hypothesis import strategies as st

from calico.dataset.sampler import Sampler
from calico.dataset.sampling_weights import SamplingGroup


class TestSchedule:
    def test_every_sample_comes_once_an_epoch(self) -> None:
        sampler = Sampler(10, 5, seed=3)
        first = np.concatenate([sampler.batch(0), sampler.batch(1)])
        second = np.concatenate([sampler.batch(2), sampler.batch(3)])
        assert sorted(first) == sorted(second) == list(range(10))
        assert not np.array_equal(first, second)

    def test_a_step_does_not_depend_on_the_way_there(self) -> None:
        one, other = Sampler(11, 4, seed=3), Sampler(11, 4, seed=3)
        for step in range(7):
            one.batch(step)
        assert np.array_equal(one.batch(7), other.batch(7))

    def test_batches_of_like_length_still_show_every_sample_once(self) -> None:
        lengths = np.random.default_rng(0).integers(5, 90, 96)
        sampler = Sampler(96, 8, seed=1, lengths=lengths)
        batches = [sampler.batch(step) for step in range(12)]
        assert sorted(np.concatenate(batches)) == list(range(96))
        spread = np.mean([np.ptp(lengths[batch]) for batch in batches])
        assert spread < 0.3 * np.ptp(lengths)
        firsts = [lengths[batch].min() for batch in batches]
        assert firsts != sorted(firsts)

    def test_few_samples_are_repeated(self) -> None:
        assert len(Sampler(2, 5, seed=0).batch(0)) == 5


@st.composite
def samplers(draw: Any) -> Sampler:
    sizes = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    weights = draw(st.lists(st.integers(1, 9), min_size=len(sizes), max_size=len(sizes)))
    bounds = np.cumsum([0, *sizes])
    groups = [
        SamplingGroup("s", str(n), np.arange(bounds[n], bounds[n + 1]), weight / sum(weights))
        for n, weight in enumerate(weights)
    ]
    lengths = np.arange(sum(sizes)) % 5 if draw(st.booleans()) else None
    size, seed = draw(st.integers(1, 6)), draw(st.integers(0, 3))
    return Sampler(sum(sizes), size, seed, lengths=lengths, groups=groups)


class TestWalk:
    @tried(deadline=None)
    @given(samplers())
    def test_every_epoch_has_the_shares_to_the_nearest_sample(self, sampler: Sampler) -> None:
        places = sampler.steps_per_epoch * sampler.batch_size
        for epoch in range(3):
            drawn = epoch_of(sampler, epoch)
            assert len(drawn) == places
            for group in sampler.groups:
                count = np.isin(drawn, group.members).sum()
                assert abs(count - group.share * places) < 1

    @tried(deadline=None)
    @given(samplers())
    def test_nothing_comes_again_before_its_group_is_through(self, sampler: Sampler) -> None:
        seen: Counter[int] = Counter()
        for epoch in range(5):
            seen.update(epoch_of(sampler, epoch).tolist())
            for group in sampler.groups:
                times = [seen[int(index)] for index in group.members]
                assert max(times) - min(times) <= 1

    @tried(deadline=None)
    @given(samplers())
    def test_a_step_does_not_depend_on_the_way_there(self, sampler: Sampler) -> None:
        other = Sampler(
            sampler.size,
            sampler.batch_size,
            sampler.seed,
            lengths=sampler.lengths,
            groups=sampler.groups,
        )
        step = 3 * sampler.steps_per_epoch
        for before in range(step):
            sampler.batch(before)
        assert np.array_equal(sampler.batch(step), other.batch(step))

    def test_without_weights_the_order_is_the_one_it_always_was(self) -> None:
        """The numbers stand for every run that was started before there were weights."""
        assert Sampler(7, 3, seed=5).batch(3).tolist() == [1, 4, 2]
        assert Sampler(7, 3, seed=5).batch(4).tolist() == [3, 0, 5]


def epoch_of(sampler: Sampler, epoch: int) -> np.ndarray:
    start = epoch * sampler.steps_per_epoch
    return np.concatenate([sampler.batch(start + n) for n in range(sampler.steps_per_epoch)])
