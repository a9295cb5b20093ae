"""Select the samples of one cell so that images and class pairs are used evenly.

The even use of a cell is m = images a sample x rows / images: the number of samples that each
image would be in if all were used equally. The rows of a cell are selected in two stages.

1. Images first. Every image gets up to m / 2 samples (rounded up), as far as it has partners. An
   image below that picks one of its entities and one class pair of that class, both uniformly.
   Partners are picked in proportion to their remaining capacity. An image that stays short tries
   again with all partners, also those at their limit, picked uniformly. This stage comes first
   because some images have few partners: once other images have used up the capacity of these
   partners, such an image can only be served beyond their limit. Unless m is small, the stage
   takes about half of the rows.
2. Class pairs second. The other rows always go to the class pair that has the fewest, so rare class
   pairs are present and common ones do not crowd them out. Within a class pair images are picked
   in proportion to their remaining capacity.

The limit of an image is 2 m. Where the poorest twentieth of the images can be in few samples only,
it is 3.5 times what these can be in, but at least m. Rows that do not fit go to other cells. Only
if no cell can take them, limits are doubled, until all rows are there or all admissible samples
are. A limit that the user sets replaces this rule and is never exceeded. Rows can then be fewer,
but no admissible sample is left whose images are all below the limit.

Everything random comes from one stream, keyed by seed, split, source and task (`random_streams`).
The selection runs in one process, on an entity table whose rows are in the order of the plan and
not in the order in which workers finish; readers sort what they find in folders. The result
therefore depends on the entities, the options and the seed only. It also depends on every call of
the stream and on `BATCH`: a change of either gives every build other rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixedparts.pairing.allocation import fill_up
from mixedparts.pairing.lookup import Lists, Seen, all_fit, all_of, firsts, within
from mixedparts.pairing.sample_space import BATCH, SampleSpace

_POOR = 0.05  # share of the images, those with the fewest partners, that sets the limit
_SPREAD = 3.5  # limit over the number of samples that those can be in
_ROUNDS = 6  # rounds in which images below their floor look for partners, with ever more tries
_STRICT = 2  # rounds that accept only partners below their limit


class BalancedSampler:
    """The samples selected so far from a cell; later calls add more.

    Args:
        space: the cell's admissible samples.
        limit: most samples an image may be in; None: by the rule of this module.
        rng: the cell's random stream.

    Attributes:
        number: how many samples are selected.
        limit: largest limit of an image that was in force so far.
    """

    def __init__(self, space: SampleSpace, limit: int | None, rng: np.random.Generator) -> None:
        index = space.index
        self._space = space
        self._asked = limit
        self._rng = rng
        names, self._image = np.unique(index.images, return_inverse=True)
        self._use = np.zeros(names.size, np.int64)
        # An image cannot be in more samples than its entities have partners.
        degrees = np.bincount(self._image, space.degrees * space.usable, names.size)
        self._most = np.minimum(degrees, 1 << 40).astype(np.int64)
        self._active = np.bincount(self._image[space.usable], minlength=names.size) > 0
        self._count = np.zeros(len(space.pairs), np.int64)
        self._first = np.array([pair.first for pair in space.pairs], np.int64)
        self._second = np.array([pair.second for pair in space.pairs], np.int64)
        self._by_image = Lists(self._image, space.usable, names.size)
        self._by_class = Lists(index.categories, space.usable, len(index.names))
        # A class pair is listed under both of its classes, but once if they are the same.
        ends = np.concatenate((self._first, self._second[self._first != self._second]))
        pairs = np.arange(self._first.size)
        pairs = np.concatenate((pairs, pairs[self._first != self._second]))
        self._pairs_of_class = Lists(ends, np.ones(ends.size, np.bool_), len(index.names), pairs)
        self._chosen: list[NDArray[np.int32]] = []
        self._seen = Seen()
        self.number = 0
        self.limit = 0
        self._bound = 0

    @property
    def capacity(self) -> int:
        """How many samples the cell can hold; an upper bound, exact if counted and unlimited."""
        most = int(self._space.capacities.sum())
        if self._asked is not None:
            most = min(most, self._asked * int(self._active.sum()) // self._space.size)
        return most

    @property
    def class_pairs(self) -> int:
        """How many class pairs have samples."""
        return int((self._count > 0).sum())

    def rows(self) -> NDArray[np.int64]:
        """Return `(k, size)` int64 rows of the entity table.

        The images of each sample are in random order, so that neither stage decides which image
        comes first. A second call gives another order.
        """
        empty = np.zeros((0, self._space.size), np.int32)
        chosen = np.concatenate([empty, *self._chosen])
        marks = self._rng.random(chosen.shape)
        if self._space.size == 2:
            # The same as sorting each row by its marks, without a call for each row.
            swapped = marks[:, 1] < marks[:, 0]
            chosen[swapped] = chosen[swapped, ::-1]
        else:
            chosen = np.take_along_axis(chosen, np.argsort(marks, axis=1), axis=1)
        rows: NDArray[np.int64] = self._space.index.rows[chosen]
        return rows

    def sample(self, total: int, relax: bool) -> int:
        """Add samples until there are `total`, or as many as there can be.

        Args:
            total: number of samples of the cell, those of earlier calls included.
            relax: where rows are missing, double the limit of an image until they are there; a
                limit set by the user stays.

        Returns:
            How many samples there are.
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
        # Where every admissible sample is wanted, there is nothing to balance.
        if relax and self._space.counted and total == self._space.capacities.sum():
            self.limit = most
        self._fill(floor, total)
        while relax and self.number < total and self.limit < most:
            self.limit = min(most, 2 * self.limit)
            self._fill(floor, total)
        # Keys of millions of rows would stay in memory for every cell. `_chosen` gives them back if
        # this cell is asked for more.
        self._seen = Seen()
        return self.number

    def _even_limit(self, even: float) -> int:
        """Return the limit of an image: the user's, or by the rule for an even use."""
        if self._asked is not None:
            return self._asked
        reach = float(np.quantile(self._most[self._active], _POOR))
        return int(np.ceil(min(2 * even, max(even, _SPREAD * reach))))

    def _fill(self, floor: NDArray[np.int64], total: int) -> None:
        """Run both stages with the present limit."""
        # A limit of `total` or more restricts no image; then only class pairs are evened out.
        if self.limit < total:
            self._serve_images(np.minimum(floor, self.limit), total)
        self._serve_pairs(total)

    def _serve_images(self, floor: NDArray[np.int64], total: int) -> None:
        """Let every image that is in fewer samples than its `floor` look for partners.

        Args:
            floor: `(images,)` int64, the number of samples that each image should get.
            total: of the cell; it is not exceeded.
        """
        rounds = 0
        while rounds < _ROUNDS and self.number < total:
            missing = np.where(self._active, np.maximum(floor - self._use, 0), 0)
            if not missing.any():
                return
            # Each sample serves all of its images, so the first round tries only a part of what is
            # missing. Later rounds serve images that found few partners, and try ever more often.
            tries = -(-missing // self._space.size) if rounds == 0 else missing << rounds
            # Candidates are served in their order; the shuffle gives no image an advantage.
            seekers = self._rng.permutation(np.repeat(np.arange(tries.size), tries))
            self._bound = self.limit if rounds < _STRICT or self._asked is not None else total
            # A round of several batches counts when its last one fits; what is missing is computed
            # anew in between, because partners were served too.
            rounds += len(seekers) <= BATCH
            seekers = seekers[:BATCH]
            first = self._by_image.pick(seekers, self._rng)
            own_class = self._space.index.categories[first]
            pair = self._pairs_of_class.pick(own_class, self._rng)
            other = self._first[pair] + self._second[pair] - own_class
            members = self._with_partners(first, other)
            self._take(members, pair, seekers=seekers, missing=missing, total=total)

    def _serve_pairs(self, total: int) -> None:
        """Fill up the class pairs that have the fewest samples, until the cell has `total`."""
        space = self._space
        self._bound = self.limit
        # `closed`: nothing left within the limit. `hard`: random candidates rarely succeed, so the
        # class pair is listed instead.
        closed, hard = (np.zeros(self._count.size, np.bool_) for _ in range(2))
        tries_so_far, got_so_far = (np.zeros(self._count.size, np.int64) for _ in range(2))
        while True:
            # `fill_up` raises the class pairs with the fewest samples to one level and leaves those
            # above it alone. The level is computed anew in each pass: rows that a closed pair
            # cannot hold go to the pairs that have the fewest by then.
            capacity = np.where(closed, self._count, space.capacities)
            need = fill_up(total, self._count, capacity) - self._count
            if not need.any():
                return
            if space.counted:
                # Where more than half of the rest is needed, most candidates would be duplicates.
                hard |= 2 * need > space.capacities - self._count
                if not (need > 0)[~hard].any():
                    closed |= self._take_listed(np.where(hard, need, 0))
                    hard[:] = False
                    continue
            need[hard] = 0
            # A quarter more than needed makes up for candidates that fail.
            tries = np.where(need > 0, need + need // 4 + (16 if space.counted else 64), 0)
            pairs = self._rng.permutation(np.repeat(np.arange(tries.size), tries))[:BATCH]
            first = self._weighted(self._first[pairs])
            taken = self._take(self._with_partners(first, self._second[pairs]), pairs, need=need)
            tried, got = (np.bincount(p, minlength=need.size) for p in (pairs, pairs[taken]))
            if space.counted:
                hard |= (tried >= 16) & (4 * got < need)
            else:
                # The number of samples is unknown here. A class pair of which fewer than one try in
                # 64 succeeds is taken as used up.
                tries_so_far, got_so_far = tries_so_far + tried, got_so_far + got
                judged = tries_so_far >= 64
                closed |= judged & (64 * got_so_far < tries_so_far)
                tries_so_far, got_so_far = (
                    np.where(judged, 0, n) for n in (tries_so_far, got_so_far)
                )

    def _take_listed(self, need: NDArray[np.int64]) -> NDArray[np.bool_]:
        """List what class pairs still have, and take from it until each has what it needs.

        Args:
            need: `(P,)` int64, samples to add to each class pair.

        Returns:
            `(P,)` bool, the class pairs that have nothing left.
        """
        goal = self._count + need
        excerpt = np.zeros(need.size, np.bool_)
        # The first pass lists only a random excerpt of class pairs with many samples. The second
        # pass lists those in full for which the excerpt was not enough.
        for whole in (False, True):
            waiting: list[tuple[int, NDArray[np.int64]]] = []
            usable = self._space.usable & (self._use[self._image] < self.limit)
            for pair in np.flatnonzero((goal > self._count) & (excerpt | (not whole))).tolist():
                few = 0 if whole else int(need[pair])
                for members, complete in self._space.listed(pair, usable, self._rng, few):
                    excerpt[pair] = not complete
                    waiting.append((pair, members))
                    if sum(len(members) for _, members in waiting) >= BATCH:
                        self._take_all(waiting, goal)
                        waiting = []
            self._take_all(waiting, goal)
        return goal > self._count

    def _take_all(
        self, waiting: list[tuple[int, NDArray[np.int64]]], goal: NDArray[np.int64]
    ) -> None:
        """Take from lists of candidates, shuffled, until nothing more fits or is needed.

        Args:
            waiting: class pair and `(k, size)` candidates of each list.
            goal: `(P,)` int64, samples that each class pair should have.
        """
        if not waiting:
            return
        members = np.concatenate([rows for _, rows in waiting])
        pairs = np.repeat([pair for pair, _ in waiting], [len(rows) for _, rows in waiting])
        # Lists come in the order of the index; unshuffled, its first images would be preferred.
        order = self._rng.permutation(len(pairs))
        members, pairs = members[order], pairs[order]
        while len(pairs):
            taken = self._take(members, pairs, need=goal - self._count)
            if not taken.any():
                return
            # One call may turn away a row for capacity that it did not use in the end (`all_fit`),
            # so the rest is tried again.
            open_images = self._use[self._image[members]] < self.limit
            left = all_of([~taken, self._count[pairs] < goal[pairs], *open_images.T])
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
            members: `(k, size)` int64 index positions, -1 where no partner was available.
            pair: `(k,)` int64, the class pair each counts for.
            need: `(P,)` int64, most samples that each class pair may get.
            seekers: `(k,)` int64, the image that looked for each candidate.
            missing: `(images,)` int64, most samples that each image may get as a seeker.
            total: most samples of the cell.

        Returns:
            `(k,)` bool, whether a candidate was taken.
        """
        # `left` holds the rows that passed so far. Cheap checks come first; those that count
        # candidates in their order come after those that look at each candidate alone.
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
        self._add(members[left], pair[left])
        taken = np.zeros(len(members), np.bool_)
        taken[left] = True
        return taken

    def _add(self, members: NDArray[np.int64], pair: NDArray[np.int64]) -> None:
        """Add `(k, size)` samples that fit; each counts for a class pair of `(k,)`."""
        self._chosen.append(members.astype(np.int32))
        self._seen.add(self._key(members))
        self.number += len(members)
        self._use += np.bincount(self._image[members].reshape(-1), minlength=self._use.size)
        self._count += np.bincount(pair, minlength=self._count.size)

    def _with_partners(
        self, first: NDArray[np.int64], second_class: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return `(k, size)` candidates: an entity, one of a class, and more of classes like it.

        Args:
            first: `(k,)` int64 index positions, -1 where there is none.
            second_class: `(k,)` int64, class of the second entity.
        """
        columns = [first, self._weighted(second_class)]
        own = self._space.index.categories[first]
        for _ in range(self._space.size - 2):
            groups = self._space.neighbours(own, self._rng.random(len(first)))
            columns.append(self._weighted(groups))
        return np.stack(columns, axis=1)

    def _weighted(self, classes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Pick an entity of each class by the remaining capacity of its image; -1 where none has.

        An image that is used less than others is picked more often, which evens the use out.
        """
        remaining = np.maximum(self._bound - self._use, 0)
        # In the rounds that go beyond the limit, every image below the bound counts the same.
        if self._bound > self.limit:
            remaining = np.minimum(remaining, 1)
        return self._by_class.pick_by(remaining[self._image], classes, self._rng)

    def _new(self, members: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows, rising, in which a set of entities comes up for the first time."""
        keys, where = firsts(self._key(members))
        return np.sort(where[~self._seen.has(keys)])

    def _key(self, members: NDArray[np.integer]) -> NDArray[np.uint64]:
        """Return `(k,)` uint64, one number for each set of entities, whatever their order.

        For four images of more than 65,536 entities the numbers wrap around: rarely, two sets
        share one, and the later set is left out.
        """
        if members.shape[1] == 2:
            # Sorting rows of two takes ten times as long.
            ordered = np.stack((np.minimum(*members.T), np.maximum(*members.T)))
        else:
            ordered = np.sort(members, axis=1).T
        columns = ordered.astype(np.uint64)
        keys: NDArray[np.uint64] = columns[0]
        for column in columns[1:]:
            keys = keys * np.uint64(len(self._image) | 1) + column
        return keys
