"""Divide a number of samples over bins of limited capacity.

A bin is anything that contains samples: a split (`proportional`), a cell of a split (`water_fill`)
or a class pair of a cell (`fill_up`). All results are whole numbers and depend on the order of the
bins only where an even division leaves a remainder.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def water_fill(total: int, capacities: Sequence[int]) -> NDArray[np.int64]:
    """Divide `total` as evenly as the capacities allow; what one bin cannot hold goes to others.

    The first bins take what an even division leaves over.

    Returns:
        `(n,)` int64 shares of the bins; their sum is min(total, sum(capacities)).
    """
    return fill_up(total, np.zeros(len(capacities), np.int64), np.asarray(capacities, np.int64))


def fill_up(
    total: int, floors: NDArray[np.int64], capacities: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Divide `total` over bins that hold something already: the emptiest are filled first.

    Args:
        total: how many samples the bins hold together afterwards.
        floors: `(n,)` int64, what each bin contains; nothing is removed from it.
        capacities: `(n,)` int64, at least `floors`.

    Returns:
        `(n,)` int64 shares of the bins; their sum is `total`, but at least sum(floors) and at most
        sum(capacities).
    """
    # Water poured into connected vessels rises to one level in all that are neither full nor above
    # it. Bisection finds the highest whole level whose content does not exceed `total`.
    low, high = 0, int(capacities.max(initial=0))
    while low < high:
        level = (low + high + 1) // 2
        if int(np.clip(level, floors, capacities).sum()) <= total:
            low = level
        else:
            high = level - 1
    share: NDArray[np.int64] = np.clip(low, floors, capacities).astype(np.int64)
    left = max(0, int(total) - int(share.sum()))
    # One level more would exceed `total`, so one sample each for the first bins uses up the rest.
    share[np.flatnonzero((share == low) & (share < capacities))[:left]] += 1
    return share


def proportional(
    total: int, weights: Sequence[float], capacities: Sequence[int]
) -> NDArray[np.int64]:
    """Divide `total` in proportion to weights, by largest remainder, within capacities.

    What a full bin cannot hold is divided again over the others, in proportion. A bin of weight 0
    gets something only when all others are full.

    Args:
        total: how many samples to divide.
        weights: of the bins, at least 0.
        capacities: most samples of each bin.

    Returns:
        `(n,)` int64 shares of the bins; their sum is min(total, sum(capacities)).
    """
    weight = np.asarray(weights, dtype=np.float64)
    capacity = np.asarray(capacities, dtype=np.int64)
    share = np.zeros_like(capacity)
    left = min(int(total), int(capacity.sum()))
    open_bins = capacity > 0
    while left:
        active = np.where(open_bins, weight, 0.0)
        if not active.any():
            active = open_bins.astype(np.float64)
        exact = left * active / active.sum()
        full = open_bins & (exact >= capacity)
        # Bins whose exact share exceeds their capacity are filled and closed. The others divide
        # the rest anew, and their shares only grow: each round closes a bin or is the last.
        if full.any():
            share[full] = capacity[full]
            left -= int(capacity[full].sum())
            open_bins &= ~full
            continue
        share[open_bins] = np.floor(exact[open_bins]).astype(np.int64)
        # Largest remainder; the stable sort gives equal remainders to the first bins.
        order = np.argsort(-np.where(open_bins, exact - np.floor(exact), -1.0), kind="stable")
        share[order[: left - int(share[open_bins].sum())]] += 1
        break
    return share
