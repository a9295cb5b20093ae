"""The admissible samples of one cell (source and task of a split), of two images or of more.

With two images every admissible pair is counted and can be numbered. With three or four, a sample
is a set of entities of which every two have comparable classes and different images, and whose
parts fit the task together. Small spaces of such sets are listed in full. Large ones are never
counted: candidates are generated at random and checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mixedparts.pairing.admissible import ClassPair, PairSpace, admitted_rows
from mixedparts.records import Task

BATCH = 1 << 18  # candidates that are checked together; bounds the memory of a cell
_LISTED = 1 << 18  # sets of three or four are listed if no step has to check more candidates
_MANY = 1 << 40  # the capacity or degree of what was not counted


class SampleSpace:
    """The admissible samples of a cell.

    Args:
        space: pairs of the cell's entities.
        task: of the samples.
        size: images a sample, 2 to 4.

    Attributes:
        index: the cell's entities.
        pairs: class pairs that samples are counted by; a sample of more than two entities counts
            for the class pair of two of them.
        capacities: `(P,)` int64, how many samples each class pair admits; `_MANY` where unknown.
        degrees: `(n,)` int64, how many samples each entity could be in at most.
        usable: `(n,)` bool, entities that can be in any sample.
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
        # Listed samples are counted by what is there, not by the product of their classes.
        if self._every is not None:
            self._pair_of = self._listed_pairs(self._every)
            self.capacities = np.bincount(self._pair_of, minlength=len(self.pairs))
        self.degrees = self._degrees()
        usable = np.zeros(len(self.index.names), np.bool_)
        usable[[place for pair in self.pairs for place in (pair.first, pair.second)]] = True
        self.usable = self.index.can_serve(task) & usable[self.index.categories]

    @property
    def counted(self) -> bool:
        """Whether the capacities are exact and `listed` yields every sample."""
        return self.size == 2 or self._every is not None

    def _degrees(self) -> NDArray[np.int64]:
        if self.size == 2:
            return self._space.partners[self.task]
        if self._every is None:
            return np.full(len(self.index.rows), _MANY)
        return np.bincount(self._every.reshape(-1), minlength=len(self.index.rows))

    def admits(self, members: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return `(k,)` bool, whether `(k, size)` index positions are samples of this cell.

        Candidates of two entities must come from one of `pairs`; their classes are not checked.
        """
        images = self.index.images[members]
        fit = np.ones(len(members), np.bool_)
        for one, two in combinations(range(self.size), 2):
            fit &= images[:, one] != images[:, two]
            if self.size > 2:
                groups = self.index.categories[members]
                fit &= self._alike[groups[:, one], groups[:, two]]
        # Parts are the costly check: only rows that passed the others get it.
        fit[fit] = admitted_rows(self.task, self.index, members[fit])
        return fit

    def neighbours(
        self, groups: NDArray[np.int64], marks: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """Return for each class one that may be in a sample with it; the class itself counts too.

        Args:
            groups: `(k,)` int64 classes.
            marks: `(k,)` float64 random numbers in [0, 1), which choose among the classes evenly.
        """
        counts = self._alike.sum(axis=1)
        listed = np.nonzero(self._alike)[1]
        starts = np.cumsum(counts) - counts
        chosen: NDArray[np.int64] = listed[
            starts[groups] + (marks * counts[groups]).astype(np.int64)
        ]
        return chosen

    def listed(
        self, pair: int, usable: NDArray[np.bool_], rng: np.random.Generator, few: int = 0
    ) -> Iterator[tuple[NDArray[np.int64], bool]]:
        """Yield candidates of a class pair in batches; only for a space that is `counted`.

        A candidate may have two entities of one image, or come twice; `admits` and the caller's
        set of keys drop those.

        Args:
            pair: position in `pairs`.
            usable: `(n,)` bool over the index; only these entities count.
            rng: random stream, used only for an excerpt.
            few: number of samples needed; where the class pair has many more, yield a random
                excerpt of about four times that number. 0: always yield everything.

        Yields:
            `(k, size)` int64 index positions, and whether all batches together are complete.
        """
        if self._every is not None:
            members = self._every[self._pair_of == pair]
            yield members[usable[members].all(axis=1)], True
            return
        numbering = self._space.numbering(self.pairs[pair], usable)
        # A class pair can have millions of pairs. Where few are needed, random numbers find them
        # at once; four times as many allow for those that are taken already or not admissible.
        if few and numbering.total > 8 * few + 256:
            yield numbering.pairs(rng.integers(0, numbering.total, 4 * few + 64)), False
            return
        for start in range(0, numbering.total, BATCH):
            yield numbering.pairs(np.arange(start, min(numbering.total, start + BATCH))), True

    def _list(self) -> NDArray[np.int64] | None:
        """Return all samples as `(t, size)` index positions, rising in a row; None: too many."""
        # Sets grow by one entity a step, always by a later position, so each set comes up once.
        # Rows that fail on classes or images are dropped at every step and never multiply.
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
        # A sample across two sources has images of both.
        if index.sides:
            sides = np.array(index.sides)[index.categories[rows]]
            rows = rows[(sides != sides[:, :1]).any(axis=1)]
        return rows

    def class_pair_of(
        self, members: NDArray[np.int64], proposed: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return `(k,)` int64, the class pair that each sample counts for.

        Args:
            members: `(k, size)` int64 index positions of admissible samples.
            proposed: `(k,)` int64, class pair that proposed each; the result if nothing is listed.
        """
        # Several class pairs may propose one set of three or four. Where capacities come from the
        # list, the count must use the list's class pair, or it could exceed the capacity.
        return proposed if self._every is None else self._listed_pairs(np.sort(members, axis=1))

    def _listed_pairs(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the class pair of the first two entities of a row that form one."""
        groups = self.index.categories[rows]
        number = np.full((len(self.index.names),) * 2, -1)
        for place, pair in enumerate(self.pairs):
            number[pair.first, pair.second] = number[pair.second, pair.first] = place
        of_row = np.full(len(rows), -1)
        for one, two in combinations(range(self.size), 2):
            of_row = np.where(of_row < 0, number[groups[:, one], groups[:, two]], of_row)
        return of_row


def _alike(space: PairSpace, task: Task) -> NDArray[np.bool_]:
    """Return `(G, G)` bool, which classes may be in one sample."""
    names = space.index.names
    alike = np.zeros((len(names),) * 2, np.bool_)
    for one in range(len(names)):
        for two in range(one, len(names)):
            same = names[one] == names[two]
            fit = same if task is Task.COMMON_OBJECT else space.alike(one, two)
            alike[one, two] = alike[two, one] = fit
    return alike


def _base_pairs(space: PairSpace, task: Task, alike: NDArray[np.bool_]) -> list[ClassPair]:
    """Return every two classes that a larger sample may contain, with unknown capacity."""
    able = np.bincount(
        space.index.categories[space.index.can_serve(task)], minlength=len(space.index.names)
    )
    return [
        ClassPair(task, first, second, _MANY)
        for first, second in zip(*np.nonzero(np.triu(alike)), strict=True)
        if space.index.across(first, second) and able[first] and able[second]
    ]
