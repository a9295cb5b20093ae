"""Select the samples of a cell so that a share of them contrasts with another one.

A group is two samples that contrast (`mixedparts.pairing.contrast`). Groups are selected first, in
each of the two stages of `BalancedSampler`, within the same limits:

1. Images. Every image below its floor looks for a group in which it is the shared image. What is
   missing afterwards, for instance because no group has the image, is selected without groups.
2. Class pairs. Groups are added to the class pairs that have the fewest samples, until the groups
   reach the share of the rows that was asked for. The other rows are selected without groups.

So the share gives way to the rules of `balanced_sampler`: images that contrast with nothing still
get their samples, and no limit is exceeded for a group. `contrasted` counts what came out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixedparts.pairing.allocation import fill_up
from mixedparts.pairing.balanced_sampler import BalancedSampler
from mixedparts.pairing.contrast import differ, sides
from mixedparts.pairing.lookup import all_fit, all_of, within
from mixedparts.pairing.sample_space import BATCH, SampleSpace
from mixedparts.records import Task

_ROUNDS = 24  # rounds in which images below their floor look for groups; others fill the rest
_TRIED = 64  # candidates of a class pair after which it is judged
_FEW = 64  # a class pair has no groups left if fewer than one candidate in so many becomes one


class ContrastSampler(BalancedSampler):
    """A sampler of groups; samples have two images.

    Args:
        space: the cell's admissible samples.
        limit: most samples an image may be in; None: by the rule of `balanced_sampler`.
        rng: the cell's random stream.
        share: of the cell's samples that are to contrast, in (0, 1].
    """

    def __init__(
        self, space: SampleSpace, limit: int | None, rng: np.random.Generator, share: float
    ) -> None:
        super().__init__(space, limit, rng)
        self._share = share
        self._grouped = 0  # samples that were selected in groups
        self._any = int(np.flatnonzero(space.usable)[0]) if space.usable.any() else 0
        # Common objects are told apart in images of several classes only: a group has no others.
        self._able = np.ones(len(self._image), np.int64)
        if space.task is Task.COMMON_OBJECT:
            self._able = (space.index.other_classes != 0).any(axis=1).astype(np.int64)
        self._able_images = np.bincount(self._image, self._able, self._use.size) > 0

    @property
    def contrasted(self) -> int:
        """How many of the samples contrast with another one of the cell."""
        if not self.number:
            return 0
        members = np.concatenate(self._chosen).astype(np.int64)
        return int(sides(self._space.task, self._space.index, members).contrasted().sum())

    def _serve_images(self, floor: NDArray[np.int64], total: int) -> None:
        self._bound = self.limit
        for _ in range(_ROUNDS):
            active = self._active & self._able_images
            missing = np.where(active, np.maximum(floor - self._use, 0), 0)
            if self._missing(total) < 2 or not missing.any():
                break
            # A group fills four places: twice its shared image, and two partners.
            seekers = self._rng.permutation(np.repeat(np.arange(missing.size), missing))
            seekers = seekers[: min(BATCH, -(-len(seekers) // 4))]
            shared = self._by_image.pick(seekers, self._rng)
            one, two, pairs = self._groups_around(shared, missing)
            fit = self._admitted(one, two)
            fit &= within(seekers, -(-missing // 2))
            self._take_groups(one, two, pairs, np.flatnonzero(fit), total)
        super()._serve_images(floor, total)

    def _serve_pairs(self, total: int) -> None:
        self._bound = self.limit
        closed = np.zeros(self._count.size, np.bool_)
        tried, got = (np.zeros(self._count.size, np.int64) for _ in range(2))
        while self._missing(total) >= 2:
            capacity = np.where(closed, self._count, self._space.capacities)
            need = fill_up(total, self._count, capacity) - self._count
            if not need.any():
                break
            tries = np.where(need > 0, need // 2 + need // 8 + _TRIED, 0)
            wanted = self._rng.permutation(np.repeat(np.arange(tries.size), tries))[:BATCH]
            one, two, pairs = self._groups_in(wanted)
            taken = self._take_groups(
                one, two, pairs, np.flatnonzero(self._admitted(one, two)), total, need
            )
            tried += np.bincount(wanted, minlength=tried.size)
            got += np.bincount(wanted[taken], minlength=got.size)
            judged = tried >= _TRIED
            closed |= judged & (_FEW * got < tried)
            tried, got = (np.where(judged, 0, number) for number in (tried, got))
        super()._serve_pairs(total)

    def _missing(self, total: int) -> int:
        """Return how many samples the groups still lack, within the rows of the cell."""
        return min(total - self.number, int(np.ceil(self._share * total)) - self._grouped)

    def _groups_around(
        self, shared: NDArray[np.int64], missing: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return candidates of groups around entities.

        Args:
            shared: `(k,)` int64 index positions of entities in the shared image, -1 for none.
            missing: `(images,)` int64, samples that each image still lacks; partners are picked in
                proportion to it. None: in proportion to the remaining capacity.

        Returns:
            The `(k, 2)` int64 samples that share the first image, and their `(k, 2)` class pairs.
        """
        # An entity that can be in samples stands in for none; such candidates are not admitted.
        index, first = self._space.index, np.where(shared < 0, self._any, shared)
        own = index.categories[first]
        pair = self._pairs_of_class.pick(own, self._rng)
        other = self._first[pair] + self._second[pair] - own
        again, its_pair, its_other = shared, pair, other
        # Another class of the same image, paired with itself, as classes of common objects are.
        if self._space.task is Task.COMMON_OBJECT:
            again = self._by_image.pick(self._image[first], self._rng)
            its_pair = self._pairs_of_class.pick(index.categories[again], self._rng)
            its_other = index.categories[again]
            its_other = self._first[its_pair] + self._second[its_pair] - its_other
        one = np.stack((shared, self._partners(other, missing)), axis=1)
        two = np.stack((again, self._partners(its_other, missing)), axis=1)
        return one, two, np.stack((pair, its_pair), axis=1)

    def _partners(
        self, classes: NDArray[np.int64], missing: NDArray[np.int64] | None
    ) -> NDArray[np.int64]:
        """Pick an entity of each class, of images that lack samples where there are any."""
        if missing is None:
            return self._in_groups(classes)
        lacking = self._by_class.pick_by(missing[self._image], classes, self._rng)
        return np.where(lacking < 0, self._in_groups(classes), lacking)

    def _in_groups(self, classes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Pick an entity of each class as `_weighted` does, of images that groups can have."""
        remaining = np.maximum(self._bound - self._use, 0)
        return self._by_class.pick_by(remaining[self._image] * self._able, classes, self._rng)

    def _groups_in(
        self, wanted: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return candidates of groups in class pairs, as `_groups_around`."""
        # Either class may be that of the shared image.
        turned = self._rng.random(len(wanted)) < 0.5
        own = np.where(turned, self._second[wanted], self._first[wanted])
        other = self._first[wanted] + self._second[wanted] - own
        shared = self._in_groups(own)
        if self._space.task is Task.COMMON_OBJECT:
            return self._groups_around(shared)
        one, two = (np.stack((shared, self._in_groups(other)), axis=1) for _ in range(2))
        return one, two, np.stack((wanted, wanted), axis=1)

    def _admitted(self, one: NDArray[np.int64], two: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return `(k,)` bool, whether candidates are two samples that contrast."""
        fit = all_of([*(one >= 0).T, *(two >= 0).T])
        left = np.flatnonzero(fit)
        left = left[self._space.admits(one[left]) & self._space.admits(two[left])]
        index, task = self._space.index, self._space.task
        left = left[differ(task, index, one[left], two[left])]
        fit[:] = False
        fit[left] = True
        return fit

    def _take_groups(
        self,
        one: NDArray[np.int64],
        two: NDArray[np.int64],
        pairs: NDArray[np.int64],
        left: NDArray[np.int64],
        total: int,
        need: NDArray[np.int64] | None = None,
    ) -> NDArray[np.int64]:
        """Take groups whose samples are both new and within all limits, in their order.

        Args:
            one: `(k, 2)` int64, the first sample of each candidate.
            two: `(k, 2)` int64, the second one.
            pairs: `(k, 2)` int64, the class pairs that they count for.
            left: places of the candidates that are groups, rising.
            total: most samples of the cell.
            need: `(P,)` int64, most samples that each class pair may get.

        Returns:
            The places of those that were taken.
        """
        left = left[self._both_new(one[left], two[left])]
        # The shared image comes twice in a row, and must have capacity for both samples.
        images = self._image[np.concatenate((one[left], two[left]), axis=1)]
        left = left[all_fit(images, self._bound - self._use)]
        if need is not None:
            left = left[all_fit(pairs[left], need)]
        left = left[: self._missing(total) // 2]
        self._add(np.concatenate((one[left], two[left])), pairs[left].T.reshape(-1))
        self._grouped += 2 * len(left)
        return left

    def _both_new(self, one: NDArray[np.int64], two: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether both samples of each group come up for the first time."""
        keys = np.concatenate((self._key(one), self._key(two)))
        different, where = np.unique(keys, return_index=True)
        new = np.zeros(len(keys), np.bool_)
        new[where[~self._seen.has(different)]] = True
        return all_of(list(new.reshape(2, -1)))
