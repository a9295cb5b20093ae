"""What one cell (source and task of a split) admits, for samples of two images or of more.

With two images every admissible pair is counted and can be numbered. With three or four, a sample
is a set of entities of which every two could be paired as far as classes and images go, and whose
parts fit the task together. Such sets are listed where there are few, else only drawn and judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mixedparts.pairing.admissible import ClassPair, PairSpace, admitted_rows
from mixedparts.records import Task

BATCH = 1 << 18  # candidates that are looked at together; bounds the memory of a draw
_LISTED = 1 << 18  # sets of three or four are listed if no step needs to look at more
_MANY = 1 << 40  # stands for a number that was not counted


class SampleSpace:
    """The admissible samples of a cell.

    Args:
        space: pairs of the cell's entities.
        task: of the samples.
        size: images a sample.

    Attributes:
        pairs: class pairs that samples are counted by: those of two of their entities.
        capacities: (P,) int64, how many samples each class pair admits; `_MANY` where unknown.
        degrees: (n,) int64, how many samples each entity could be in at most.
        usable: (n,) bool, entities that can be in any.
    """

    def __init__(self, space: PairSpace, task: Task, size: int) -> None:
        self.index = space.index
        self.task = task
        self.size = size
        self._space = space
        self._every: NDArray[np.int64] | None = None
        if size == 2:
            self.pairs = [pair for pair in space.class_pairs if pair.task is task]
        else:
            self._alike = _alike(space, task)
            self.pairs = _base_pairs(space, task, self._alike)
            self._every = self._list()
        self.capacities = np.array([pair.capacity for pair in self.pairs], np.int64)
        if self._every is not None:
            self._pair_of = self._listed_pairs(self._every)
            self.capacities = np.bincount(self._pair_of, minlength=len(self.pairs))
        self.degrees = self._degrees()
        usable = np.zeros(len(self.index.names), np.bool_)
        usable[[place for pair in self.pairs for place in (pair.first, pair.second)]] = True
        self.usable = self.index.can_serve(task) & usable[self.index.categories]

    @property
    def counted(self) -> bool:
        """Whether the capacities are exact and `listed` gives all there is."""
        return self.size == 2 or self._every is not None

    def _degrees(self) -> NDArray[np.int64]:
        if self.size == 2:
            return self._space.partners[self.task]
        if self._every is None:
            return np.full(len(self.index.rows), _MANY)
        return np.bincount(self._every.reshape(-1), minlength=len(self.index.rows))

    def admits(self, members: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Say of each row of (k, size) index positions whether it is a sample of this cell."""
        images = self.index.images[members]
        fit = np.ones(len(members), np.bool_)
        for one, two in combinations(range(self.size), 2):
            fit &= images[:, one] != images[:, two]
            if self.size > 2:
                groups = self.index.categories[members]
                fit &= self._alike[groups[:, one], groups[:, two]]
        fit[fit] = admitted_rows(self.task, self.index, members[fit])
        return fit

    def neighbours(
        self, groups: NDArray[np.int64], draws: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """Return for each class one that it may stand with, itself included, chosen by a draw."""
        counts = self._alike.sum(axis=1)
        listed = np.nonzero(self._alike)[1]
        starts = np.cumsum(counts) - counts
        found: NDArray[np.int64] = listed[
            starts[groups] + (draws * counts[groups]).astype(np.int64)
        ]
        return found

    def listed(
        self, pair: int, usable: NDArray[np.bool_], rng: np.random.Generator, few: int = 0
    ) -> Iterator[tuple[NDArray[np.int64], bool]]:
        """Yield the samples of a class pair among usable entities in batches, and if that is all.

        Some rows may stand in one image or come twice.

        Args:
            few: where there are many more than that, yield but a draw of about as many.
        """
        if self._every is not None:
            mine = self._every[self._pair_of == pair]
            yield mine[usable[mine].all(axis=1)], True
            return
        places = self._space.places(self.pairs[pair], usable)
        if few and places.total > 8 * few + 256:
            yield places.pairs(rng.integers(0, places.total, 4 * few + 64)), False
            return
        for start in range(0, places.total, BATCH):
            yield places.pairs(np.arange(start, min(places.total, start + BATCH))), True

    def _list(self) -> NDArray[np.int64] | None:
        """Return all samples as (t, size) index positions, rising in a row; None: too many."""
        index = self.index
        able = np.flatnonzero(index.can_serve(self.task))
        rows = able[:, None]
        for column in range(1, self.size):
            if len(rows) * len(able) > _LISTED:
                return None
            left, right = np.nonzero(rows[:, -1:] < able)
            rows = np.column_stack((rows[left], able[right]))
            for before in range(column):
                one, two = rows[:, before], rows[:, column]
                alike = self._alike[index.categories[one], index.categories[two]]
                keep = alike & (index.images[one] != index.images[two])
                rows = rows[keep]
        rows = rows[admitted_rows(self.task, index, rows)]
        if index.sides:
            sides = np.array(index.sides)[index.categories[rows]]
            rows = rows[(sides != sides[:, :1]).any(axis=1)]
        return rows

    def class_pair_of(
        self, members: NDArray[np.int64], drawn: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return the class pair that samples count for.

        Args:
            members: (k, size) admissible.
            drawn: (k,) the class pair by which each was drawn; it holds where nothing is listed.
        """
        return drawn if self._every is None else self._listed_pairs(np.sort(members, axis=1))

    def _listed_pairs(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the class pair of the first two entities of a row that form one."""
        groups = self.index.categories[rows]
        number = np.full((len(self.index.names),) * 2, -1)
        for place, pair in enumerate(self.pairs):
            number[pair.first, pair.second] = number[pair.second, pair.first] = place
        found = np.full(len(rows), -1)
        for one, two in combinations(range(self.size), 2):
            found = np.where(found < 0, number[groups[:, one], groups[:, two]], found)
        return found


def _alike(space: PairSpace, task: Task) -> NDArray[np.bool_]:
    """Return (G, G) which classes may stand in one sample."""
    names = space.index.names
    alike = np.zeros((len(names),) * 2, np.bool_)
    for one in range(len(names)):
        for two in range(one, len(names)):
            same = names[one] == names[two]
            fit = same if task is Task.COMMON_OBJECT else space.alike(one, two)
            alike[one, two] = alike[two, one] = fit
    return alike


def _base_pairs(space: PairSpace, task: Task, alike: NDArray[np.bool_]) -> list[ClassPair]:
    able = np.bincount(
        space.index.categories[space.index.can_serve(task)], minlength=len(space.index.names)
    )
    return [
        ClassPair(task, first, second, _MANY)
        for first, second in zip(*np.nonzero(np.triu(alike)), strict=True)
        if space.index.across(first, second) and able[first] and able[second]
    ]
