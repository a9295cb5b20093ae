"""Draws the samples of one cell so that images and class pairs are used evenly.

The rule, for `total` rows of a cell with the even use m = images a sample x rows / images:

1. Every image is served up to half the even use (rounded up), as far as it has partners. An image
   below that picks one of its classes and one of the class pairs of that class, both evenly; its
   partners are drawn by the room they have left, and where that is not enough, evenly among all,
   also those at their limit.
2. What is left of the rows goes to the class pair that has the fewest rows, so rare class pairs
   are there and common ones do not drown them; within a class pair images are drawn by room.

Else no image is in more samples than twice the even use; and where a twentieth of the images cannot
be in many, in no more than 3.5 times as many as these, but always in as many as the even use. Rows
that do not fit go to other cells. Only if no cell can take them, limits are doubled, until all
rows are there or all admissible samples are.

A limit that was asked for takes the place of this one and is never passed: then rows can be fewer,
but no admissible sample is left of which all images are below the limit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixedparts.pairing.allocation import fill_up
from mixedparts.pairing.fitting import all_fit, all_of, within
from mixedparts.pairing.lookup import Lists, Seen
from mixedparts.pairing.sample_space import BATCH, SampleSpace

_POOR = 0.05  # the share of images, poorest in partners, that the limit of an image looks at
_SPREAD = 3.5  # how much more than these another image may be used
_ROUNDS = 6  # how often an image below its share tries again, each time harder,
_STRICT = 2  # and how often so with partners below their limit only


class BalancedSampler:
    """The samples drawn so far from a cell; more can be drawn later.

    Args:
        space: what the cell admits.
        limit: most samples an image may be in; None: by the rule above.
        rng: the cell's random stream.

    Attributes:
        number: how many samples are drawn.
        limit: most samples an image was allowed to be in, so far.
    """

    def __init__(self, space: SampleSpace, limit: int | None, rng: np.random.Generator) -> None:
        index = space.index
        self._space = space
        self._asked = limit
        self._rng = rng
        names, self._image = np.unique(index.images, return_inverse=True)
        self._use = np.zeros(names.size, np.int64)
        degrees = np.bincount(self._image, space.degrees * space.usable, names.size)
        self._most = np.minimum(degrees, 1 << 40).astype(np.int64)
        self._active = np.bincount(self._image[space.usable], minlength=names.size) > 0
        self._count = np.zeros(len(space.pairs), np.int64)
        self._first = np.array([pair.first for pair in space.pairs], np.int64)
        self._second = np.array([pair.second for pair in space.pairs], np.int64)
        self._by_image = Lists(self._image, space.usable, names.size)
        self._by_class = Lists(index.categories, space.usable, len(index.names))
        ends = np.concatenate((self._first, self._second[self._first != self._second]))
        places = np.arange(self._first.size)
        places = np.concatenate((places, places[self._first != self._second]))
        self._pairs_of_class = Lists(ends, np.ones(ends.size, np.bool_), len(index.names), places)
        self._chosen: list[NDArray[np.int32]] = []
        self._seen = Seen()
        self.number = 0
        self.limit = 0
        self._bound = 0

    @property
    def capacity(self) -> int:
        """How many samples there can be at most; exact for two images without a limit."""
        most = int(self._space.capacities.sum())
        if self._asked is not None:
            most = min(most, self._asked * int(self._active.sum()) // self._space.size)
        return most

    @property
    def class_pairs(self) -> int:
        """How many class pairs have samples."""
        return int((self._count > 0).sum())

    def rows(self) -> NDArray[np.int64]:
        """Return (k, size) rows of the entity table; the order of the images is drawn."""
        empty = np.zeros((0, self._space.size), np.int32)
        chosen = np.concatenate([empty, *self._chosen])
        order = np.argsort(self._rng.random(chosen.shape), axis=1)
        rows: NDArray[np.int64] = self._space.index.rows[np.take_along_axis(chosen, order, axis=1)]
        return rows

    def draw(self, total: int, relax: bool) -> int:
        """Draw until there are `total` samples, or as many as there can be.

        Args:
            relax: double the limit of an image, if it is not asked for, until they are there.

        Returns:
            How many there are.
        """
        total = min(total, self.capacity)
        if total <= self.number:
            return self.number
        for chosen in self._chosen:
            self._seen.add(self._key(chosen))
        even = self._space.size * total / int(self._active.sum())
        floor = np.minimum(int(np.ceil(even / 2)), self._most)
        most = total if self._asked is None else self._asked
        self.limit = min(most, max(self.limit, self._even_limit(even)))
        if relax and self._space.counted and total == self._space.capacities.sum():
            self.limit = most
        self._fill(floor, total)
        while relax and self.number < total and self.limit < most:
            self.limit = min(most, 2 * self.limit)
            self._fill(floor, total)
        self._seen = Seen()  # known again from what is chosen, should more be asked for
        return self.number

    def _even_limit(self, even: float) -> int:
        """Return the limit of an image that the rule gives, or that was asked for."""
        if self._asked is not None:
            return self._asked
        reach = float(np.quantile(self._most[self._active], _POOR))
        return int(np.ceil(min(2 * even, max(even, _SPREAD * reach))))

    def _fill(self, floor: NDArray[np.int64], total: int) -> None:
        if self.limit < total:
            self._serve_images(np.minimum(floor, self.limit), total)
        self._serve_pairs(total)

    def _serve_images(self, floor: NDArray[np.int64], total: int) -> None:
        """Let every image that is in fewer samples than its `floor` look for partners."""
        rounds = 0
        while rounds < _ROUNDS and self.number < total:
            missing = np.where(self._active, np.maximum(floor - self._use, 0), 0)
            if not missing.any():
                return
            tries = -(-missing // self._space.size) if rounds == 0 else missing << rounds
            seekers = self._rng.permutation(np.repeat(np.arange(tries.size), tries))
            self._bound = self.limit if rounds < _STRICT or self._asked is not None else total
            rounds += len(seekers) <= BATCH
            seekers = seekers[:BATCH]
            first = self._by_image.pick(seekers, self._rng)
            mine = self._space.index.categories[first]
            pair = self._pairs_of_class.pick(mine, self._rng)
            other = self._first[pair] + self._second[pair] - mine
            members = self._with_partners(first, other)
            self._take(members, pair, seekers=seekers, missing=missing, total=total)

    def _serve_pairs(self, total: int) -> None:
        """Fill up the class pairs that have the fewest samples."""
        space = self._space
        self._bound = self.limit
        closed, hard = (np.zeros(self._count.size, np.bool_) for _ in range(2))
        looked, found = (np.zeros(self._count.size, np.int64) for _ in range(2))
        while True:
            capacity = np.where(closed, self._count, space.capacities)
            need = fill_up(total, self._count, capacity) - self._count
            if not need.any():
                return
            if space.counted:
                hard |= 2 * need > space.capacities - self._count
                if not (need > 0)[~hard].any():
                    closed |= self._take_listed(np.where(hard, need, 0))
                    hard[:] = False
                    continue
            need[hard] = 0
            tries = np.where(need > 0, need + need // 4 + (16 if space.counted else 64), 0)
            pairs = self._rng.permutation(np.repeat(np.arange(tries.size), tries))[:BATCH]
            first = self._weighted(self._first[pairs])
            taken = self._take(self._with_partners(first, self._second[pairs]), pairs, need=need)
            tried, got = (np.bincount(p, minlength=need.size) for p in (pairs, pairs[taken]))
            if space.counted:
                hard |= (tried >= 16) & (4 * got < need)
            else:  # nobody knows how many are left: few found means that it is not worth going on
                looked, found = looked + tried, found + got
                closed |= (looked >= 64) & (64 * found < looked)
                looked, found = (np.where(looked >= 64, 0, n) for n in (looked, found))

    def _take_listed(self, need: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Go through all that class pairs still have until each has got what it needs.

        Returns:
            (P,) bool, the class pairs that have nothing left.
        """
        goal = self._count + need
        drawn = np.zeros(need.size, np.bool_)
        for whole in (False, True):  # first a draw from class pairs of many samples
            waiting: list[tuple[int, NDArray[np.int64]]] = []
            usable = self._space.usable & (self._use[self._image] < self.limit)
            for pair in np.flatnonzero((goal > self._count) & (drawn | (not whole))).tolist():
                few = 0 if whole else int(need[pair])
                for members, complete in self._space.listed(pair, usable, self._rng, few):
                    drawn[pair] = not complete
                    waiting.append((pair, members))
                    if sum(len(members) for _, members in waiting) >= BATCH:
                        self._take_all(waiting, goal)
                        waiting = []
            self._take_all(waiting, goal)
        return goal > self._count

    def _take_all(
        self, waiting: list[tuple[int, NDArray[np.int64]]], goal: NDArray[np.int64]
    ) -> None:
        """Take from lists of candidates, shuffled, until nothing more fits or is needed."""
        if not waiting:
            return
        members = np.concatenate([some for _, some in waiting])
        pairs = np.repeat([pair for pair, _ in waiting], [len(some) for _, some in waiting])
        order = self._rng.permutation(len(pairs))
        members, pairs = members[order], pairs[order]
        while len(pairs):
            taken = self._take(members, pairs, need=goal - self._count)
            if not taken.any():
                return
            room = self._use[self._image[members]] < self.limit
            left = all_of([~taken, self._count[pairs] < goal[pairs], *room.T])
            members, pairs = members[left], pairs[left]

    def _take(
        self,
        members: NDArray[np.int64],
        pair: NDArray[np.int64],
        need: NDArray[np.int64] | None = None,
        seekers: NDArray[np.int64] | None = None,
        missing: NDArray[np.int64] | None = None,
        total: int | None = None,
    ) -> NDArray[np.bool_]:
        """Take the candidates that are new, admissible and within all limits, in their order.

        Args:
            members: (k, size) index positions, -1 where none was found.
            pair: (k,) the class pair each counts for.
            need: (P,) most that each class pair may get.
            seekers, missing: (k,) the image that looked for each, and what each image may get so.
            total: of the cell.

        Returns:
            (k,) whether a candidate was taken.
        """
        left = np.flatnonzero(all_of(list((members >= 0).T)))
        left = left[all_of(list((self._use[self._image[members[left]]] < self._bound).T))]
        left = left[self._space.admits(members[left])]
        pair = pair.copy()
        pair[left] = self._space.class_pair_of(members[left], pair[left])
        left = left[self._new(members[left])]
        if seekers is not None and missing is not None:
            left = left[within(seekers[left], missing)]
        left = left[all_fit(self._image[members[left]], self._bound - self._use)]
        if need is not None:
            left = left[within(pair[left], need)]
        if total is not None:
            left = left[: total - self.number]
        chosen = members[left]
        self._chosen.append(chosen.astype(np.int32))
        self._seen.add(self._key(chosen))
        self.number += len(chosen)
        self._use += np.bincount(self._image[chosen].reshape(-1), minlength=self._use.size)
        self._count += np.bincount(pair[left], minlength=self._count.size)
        taken = np.zeros(len(members), np.bool_)
        taken[left] = True
        return taken

    def _with_partners(
        self, first: NDArray[np.int64], second_class: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return (k, size) candidates: an entity, one of a class, and more of like classes."""
        columns = [first, self._weighted(second_class)]
        own = self._space.index.categories[first]
        for _ in range(self._space.size - 2):
            groups = self._space.neighbours(own, self._rng.random(len(first)))
            columns.append(self._weighted(groups))
        return np.stack(columns, axis=1)

    def _weighted(self, classes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Draw an entity of each class by its image's room, or evenly; -1 where none has room."""
        room = np.maximum(self._bound - self._use, 0)
        if self._bound > self.limit:
            room = np.minimum(room, 1)
        return self._by_class.pick_by(room[self._image], classes, self._rng)

    def _new(self, members: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where a set of entities comes up for the first time, in the order of the rows."""
        keys, where = np.unique(self._key(members), return_index=True)
        return np.sort(where[~self._seen.has(keys)])

    def _key(self, members: NDArray[np.integer]) -> NDArray[np.uint64]:
        """Return one number for each set of entities, whatever their order.

        Sums wrap around for four images of more than 65,536 entities: then two sets of billions
        may share a number, and the later one is passed over.
        """
        ordered = np.sort(members, axis=1).astype(np.uint64)
        keys = ordered[:, 0]
        for column in ordered.T[1:]:
            keys = keys * np.uint64(len(self._image) | 1) + column
        return keys
