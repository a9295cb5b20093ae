"""Which of many candidates fit what is left: first come, first served, without a loop."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray


def ranks(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each entry how many earlier entries have the same key.

    Args:
        keys: (n,) integers from 0 to 2^32 - 1; n is under 2^31.
    """
    number = len(keys)
    packed = (keys.astype(np.int64) << 31) | np.arange(number)
    packed.sort()  # a plain sort of numbers is several times as fast as a stable argsort
    place = packed & ((1 << 31) - 1)
    key = packed >> 31
    first = np.concatenate(([True], key[1:] != key[:-1]))[:number]
    starts = np.maximum.accumulate(np.where(first, np.arange(number), 0))
    found = np.empty(number, np.int64)
    found[place] = np.arange(number) - starts
    return found


def within(keys: NDArray[np.int64], most: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say of each entry whether it is among the first `most[key]` entries of its key."""
    return ranks(keys) < most[keys]


def all_fit(images: NDArray[np.int64], room: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say of each row of images whether all of them still have room for it.

    Rows are served in their order. A row that is turned away for one image has taken up room in
    the others, so a second look at what is left may find more; the first row that has room
    everywhere is always served.

    Args:
        images: (k, n) image numbers, different within a row.
        room: how many rows each image can still take.
    """
    return all_of(list(within(images.reshape(-1), room).reshape(images.shape).T))


def all_of(columns: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Return where all of some columns hold; for a few long ones faster than `all(axis=1)`."""
    return reduce(np.logical_and, columns)
