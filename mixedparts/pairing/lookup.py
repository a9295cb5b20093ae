"""Vectorised look-ups of the sampler: keys taken, values listed, candidates that still fit.

The sampler proposes up to 262,144 candidates at a time. A Python loop over them would dominate a
build of millions of rows, so each question about a batch is answered by sorting and counting.
The answers equal those of a loop that serves the candidates in their order, except where a
docstring says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

_RECENT = 1 << 14  # keys in the small array before it is merged into the large one


class Seen:
    """A set of 64-bit keys that takes many at a time."""

    def __init__(self) -> None:
        # Two sorted arrays, one large and one of recent keys: most additions then sort the small
        # one only. A key takes 8 bytes here, and several times as much in a Python set.
        self._parts = [np.zeros(0, np.uint64), np.zeros(0, np.uint64)]

    def add(self, keys: NDArray[np.uint64]) -> None:
        """Add `(n,)` keys in any order."""
        recent = np.sort(np.concatenate((self._parts[1], keys)))
        self._parts[1] = recent
        if recent.size > _RECENT:
            self._parts = [np.sort(np.concatenate(self._parts)), recent[:0]]

    def has(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return `(n,)` bool, whether each key was added; rising keys are found fastest."""
        found = np.zeros(len(keys), np.bool_)
        for part in self._parts:
            if part.size:
                at = np.minimum(np.searchsorted(part, keys), part.size - 1)
                found |= part[at] == keys
        return found


class Lists:
    """Values listed under integer keys, ready for random picks.

    The values of all keys lie in one array, key after key; `_starts` holds where each key's values
    begin. One array serves a batch of picks under different keys without a loop.

    Args:
        keys: `(n,)` int64 in `[0, number)`, the key of each entry.
        chosen: `(n,)` bool, the entries to list; others are left out.
        number: how many keys there are; a key may have no entry.
        values: `(n,)` int64, the value of each entry; None lists the entries' positions.
    """

    def __init__(
        self,
        keys: NDArray[np.int64],
        chosen: NDArray[np.bool_],
        number: int,
        values: NDArray[np.int64] | None = None,
    ) -> None:
        where = np.flatnonzero(chosen)
        order = where[np.argsort(keys[where], kind="stable")]
        self._values = order if values is None else values[order]
        counts = np.bincount(keys[where], minlength=number)
        self._starts = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)

    def pick(self, keys: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Pick a value under each of `(k,)` keys, uniformly; every key must have one."""
        starts, counts = self._starts[keys], self._starts[keys + 1] - self._starts[keys]
        picked: NDArray[np.int64] = self._values[starts + rng.integers(0, counts)]
        return picked

    def pick_by(
        self, weights: NDArray[np.int64], keys: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Pick a value under each key with a probability in proportion to its weight.

        Args:
            weights: `(v,)` int64, at least 0, indexed by value.
            keys: `(k,)` int64, the keys to pick under.
            rng: random stream; it gives one integer for each key.

        Returns:
            `(k,)` int64 values, -1 where all values of the key weigh 0 or it has none.
        """
        # Values lie on one line, each as long as its weight, and a key owns a stretch of it. A
        # random mark in that stretch hits a value by its weight. Integers keep this exact: a float
        # sum over many values could put a mark on a value of weight 0.
        ends = np.cumsum(weights[self._values])
        bounds = np.concatenate(([0], ends))[self._starts]
        low, high = bounds[keys], bounds[keys + 1]
        # `max` keeps an empty stretch legal for `integers`; the last line turns its pick into -1.
        marks = rng.integers(low, np.maximum(high, low + 1))
        place = np.minimum(np.searchsorted(ends, marks, side="right"), self._values.size - 1)
        return np.where(high > low, self._values[place], -1)


def firsts(keys: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return the different keys in rising order, and where each comes up first."""
    number = len(keys)
    bits = max(1, number - 1).bit_length()
    if not number or int(keys.max()) >> (64 - bits):
        return np.unique(keys, return_index=True)
    # As in `ranks`: key and position share one integer.
    packed = (keys << np.uint64(bits)) | np.arange(number, dtype=np.uint64)
    packed.sort()
    ordered = packed >> np.uint64(bits)
    first = np.concatenate(([True], ordered[1:] != ordered[:-1]))
    return ordered[first], (packed[first] & np.uint64((1 << bits) - 1)).astype(np.int64)


def ranks(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each entry how many earlier entries have the same key.

    Args:
        keys: `(n,)` integers from 0 to 2^32 - 1; n is under 2^31.
    """
    number = len(keys)
    # Key and position share one integer, which makes a plain sort stable. NumPy sorts integers
    # several times as fast as it computes a stable argsort.
    packed = (keys.astype(np.int64) << 31) | np.arange(number)
    packed.sort()
    place = packed & ((1 << 31) - 1)
    key = packed >> 31
    first = np.concatenate(([True], key[1:] != key[:-1]))[:number]
    starts = np.maximum.accumulate(np.where(first, np.arange(number), 0))
    rank = np.empty(number, np.int64)
    rank[place] = np.arange(number) - starts
    return rank


def within(keys: NDArray[np.int64], most: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return for each entry whether it is among the first `most[key]` entries of its key."""
    return ranks(keys) < most[keys]


def all_fit(images: NDArray[np.int64], remaining: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return for each row of images whether all of them have remaining capacity for it.

    Rows are served in their order. A row that one image turns away still uses up capacity of its
    other images, so a second call on the rows left over may serve more. Where every image has
    capacity, the first row is always served, so repeated calls make progress.

    Args:
        images: `(k, n)` int64 image numbers, different within a row.
        remaining: `(images,)` int64, how many rows each image can still take.
    """
    return all_of(list(within(images.reshape(-1), remaining).reshape(images.shape).T))


def all_of(columns: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Return where all of some columns hold; for a few long ones faster than `all(axis=1)`."""
    return reduce(np.logical_and, columns)
