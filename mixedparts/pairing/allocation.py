"""How a number of samples is divided over cells that can hold only so many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def water_fill(total: int, capacities: Sequence[int]) -> NDArray[np.int64]:
    """Divide `total` as evenly as the capacities allow; what one cell cannot hold goes to others.

    Whole numbers only; the first cells take what an even division leaves over.

    Returns:
        int64 array of the cells' shares; its sum is min(total, sum(capacities)).
    """
    return fill_up(total, np.zeros(len(capacities), np.int64), np.asarray(capacities, np.int64))


def fill_up(
    total: int, floors: NDArray[np.int64], capacities: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Divide `total` over cells that hold something already: the emptiest are filled first.

    Args:
        floors: (n,) int64, what each cell holds; nothing is taken away from it.
        capacities: (n,) int64, at least `floors`.

    Returns:
        int64 array of the cells' shares; its sum is `total`, but at least sum(floors) and at most
        sum(capacities).
    """
    low, high = 0, int(capacities.max(initial=0))
    while low < high:  # the highest level at which all cells together hold no more than `total`
        level = (low + high + 1) // 2
        if int(np.clip(level, floors, capacities).sum()) <= total:
            low = level
        else:
            high = level - 1
    share: NDArray[np.int64] = np.clip(low, floors, capacities).astype(np.int64)
    left = max(0, int(total) - int(share.sum()))
    share[np.flatnonzero((share == low) & (share < capacities))[:left]] += 1
    return share


def proportional(
    total: int, weights: Sequence[float], capacities: Sequence[int]
) -> NDArray[np.int64]:
    """Divide `total` in proportion to weights, by largest remainder, within capacities.

    What a full cell cannot hold is divided again over the others, in proportion. A cell of weight
    0 gets something only when all others are full.

    Returns:
        int64 array of the cells' shares; its sum is min(total, sum(capacities)).
    """
    weight = np.asarray(weights, dtype=np.float64)
    capacity = np.asarray(capacities, dtype=np.int64)
    share = np.zeros_like(capacity)
    left = min(int(total), int(capacity.sum()))
    room = capacity > 0
    while left:
        active = np.where(room, weight, 0.0)
        if not active.any():
            active = room.astype(np.float64)
        exact = left * active / active.sum()
        full = room & (exact >= capacity)
        if full.any():  # these take all they can hold; the others divide the rest anew
            share[full] = capacity[full]
            left -= int(capacity[full].sum())
            room &= ~full
            continue
        share[room] = np.floor(exact[room]).astype(np.int64)
        order = np.argsort(-np.where(room, exact - np.floor(exact), -1.0), kind="stable")
        share[order[: left - int(share[room].sum())]] += 1
        break
    return share
