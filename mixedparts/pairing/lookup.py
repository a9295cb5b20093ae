"""Look-ups of a draw: what is listed under a key, and what was drawn already."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_RECENT = 1 << 14


class Seen:
    """A set of 64-bit keys that takes many at a time."""

    def __init__(self) -> None:
        self._parts = [np.zeros(0, np.uint64), np.zeros(0, np.uint64)]  # most of all, and recent

    def add(self, keys: NDArray[np.uint64]) -> None:
        """Add keys."""
        recent = np.sort(np.concatenate((self._parts[1], keys)))
        self._parts[1] = recent
        if recent.size > _RECENT:
            self._parts = [np.sort(np.concatenate(self._parts)), recent[:0]]

    def has(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return (n,) whether each key was added; rising keys are found fastest."""
        found = np.zeros(len(keys), np.bool_)
        for part in self._parts:
            if part.size:
                at = np.minimum(np.searchsorted(part, keys), part.size - 1)
                found |= part[at] == keys
        return found


class Lists:
    """Numbers listed under keys, ready to be drawn from.

    Args:
        keys: (n,) the key of each entry.
        chosen: (n,) bool, the entries that count.
        number: how many keys there are.
        values: (n,) what is listed; None: the entries' positions.
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
        """Draw a value under each key, all alike; every key must have one."""
        starts, counts = self._starts[keys], self._starts[keys + 1] - self._starts[keys]
        picked: NDArray[np.int64] = self._values[starts + rng.integers(0, counts)]
        return picked

    def pick_by(
        self, weights: NDArray[np.int64], keys: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Draw a value under each key by whole-numbered weights; -1 where all weigh nothing.

        Args:
            weights: what each value weighs.
        """
        ends = np.cumsum(weights[self._values])
        bounds = np.concatenate(([0], ends))[self._starts]
        low, high = bounds[keys], bounds[keys + 1]
        marks = rng.integers(low, np.maximum(high, low + 1))
        place = np.minimum(np.searchsorted(ends, marks, side="right"), self._values.size - 1)
        return np.where(high > low, self._values[place], -1)
