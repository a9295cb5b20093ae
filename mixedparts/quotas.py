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
    capacity = np.asarray(capacities, dtype=np.int64)
    share = np.zeros_like(capacity)
    left = min(int(total), int(capacity.sum()))
    while left:
        open_cells = np.flatnonzero(share < capacity)
        each = left // open_cells.size
        if each == 0:
            share[open_cells[:left]] += 1
            break
        added = np.minimum(capacity[open_cells] - share[open_cells], each)
        share[open_cells] += added
        left -= int(added.sum())
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
    while left:
        room = share < capacity
        active = weight * room
        if not active.any():
            active = room.astype(np.float64)
        exact = left * active / active.sum()
        whole = np.floor(exact).astype(np.int64)
        order = np.lexsort((np.arange(exact.size), -(exact - whole), ~room))
        whole[order[: left - int(whole.sum())]] += 1
        added = np.minimum(capacity - share, whole)
        share += added
        left -= int(added.sum())
    return share
