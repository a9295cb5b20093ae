"""Contrasting samples: the same image beside another partner has another answer.

Two samples of a cell contrast if they share an image, their other images differ, and the right
answer for the shared image differs:

- `common_object`: the image shows two classes; each partner shows one of them. In both samples each
  image also shows a class that the other one does not, and the common class is the only one.
- `common_parts`, `unique_parts`: the class in the image and that of the partner are the same in
  both samples, so only the partners' visible parts explain the difference.

A model that looks at one image, or at the classes alone, gives both samples the same answer. Where
one image of a sample shows a single class, that image tells the common object without comparison,
and where both images share two classes, two answers are right: such samples contrast with nothing.
Samples have two images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedparts.pairing.entity_index import EntityIndex
from mixedparts.pairing.lookup import all_of
from mixedparts.records import Task


@dataclass(frozen=True, slots=True)
class Sides:
    """Both images of some samples, as three numbers each.

    Attributes:
        keys: `(k, 2)` int64; only samples of one key can contrast by this image.
        answers: `(k, 2)` int64, equal where the right answers for this image are equal.
        partners: `(k, 2)` int64, the other image.
        able: `(k,)` bool, False for samples that contrast with nothing.
    """

    keys: NDArray[np.int64]
    answers: NDArray[np.int64]
    partners: NDArray[np.int64]
    able: NDArray[np.bool_]

    def contrasted(self) -> NDArray[np.bool_]:
        """Return `(k,)` bool, whether a sample contrasts with any other of them."""
        keys, answers, partners = (
            side[self.able].reshape(-1) for side in (self.keys, self.answers, self.partners)
        )
        # Of the samples with the same key, those with another answer and another partner: all,
        # less those of the same answer, less those of the same partner, plus those of both.
        others = _shared(keys) - _shared(keys, answers) - _shared(keys, partners)
        others += _shared(keys, answers, partners)
        by_either = others.reshape(-1, 2) > 0
        found = self.able.copy()
        found[self.able] = np.logical_or(by_either[:, 0], by_either[:, 1])
        return found


def sides(task: Task, index: EntityIndex, members: NDArray[np.int64]) -> Sides:
    """Return the sides of samples of one cell.

    Args:
        task: of all of them.
        index: entities of the cell.
        members: `(k, 2)` int64 index positions.

    Returns:
        The sides, from which `contrasted` follows.
    """
    images, classes = index.images[members], index.categories[members]
    able = needs_both(task, index, members)
    if task is Task.COMMON_OBJECT:
        return Sides(images, classes, images[:, ::-1], able)
    width = len(index.names)
    keys = members * width + classes[:, ::-1]
    shared = shared_parts(index, members)[:, None].repeat(2, 1)
    return Sides(keys, shared, images[:, ::-1], able)


def needs_both(task: Task, index: EntityIndex, members: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say which samples can contrast at all.

    Args:
        task: of all samples.
        index: entities of the cell.
        members: `(k, 2)` int64 index positions.

    Returns:
        `(k,)` bool.
    """
    if task is not Task.COMMON_OBJECT:
        return np.ones(len(members), np.bool_)
    one, two = (index.other_classes[column] for column in members.T)
    return all_of([_any(one), _any(two), ~_any(one & two)])


def shared_parts(index: EntityIndex, members: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return `(k,)` int64, equal where the sets of parts visible on both entities are equal.

    For one entity beside two partners, the sets of its unique parts are equal just where these are.
    """
    bits = index.part_bits
    both = bits[members[:, 0]] & bits[members[:, 1]]
    numbers: NDArray[np.int64] = np.unique(both, axis=0, return_inverse=True)[1].reshape(-1)
    return numbers


def differ(
    task: Task, index: EntityIndex, one: NDArray[np.int64], two: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return whether two samples that share their first image contrast by it.

    Args:
        task: of all samples.
        index: entities of the cell.
        one: `(k, 2)` int64 index positions, all of them valid.
        two: `(k, 2)` int64 index positions, the first in the same image as that of `one`.

    Returns:
        `(k,)` bool.
    """
    partners = index.images[one[:, 1]] != index.images[two[:, 1]]
    if task is Task.COMMON_OBJECT:
        able = [needs_both(task, index, members) for members in (one, two)]
        return all_of([*able, partners, index.categories[one[:, 0]] != index.categories[two[:, 0]]])
    bits = index.part_bits
    changed = bits[one[:, 0]] & (bits[one[:, 1]] ^ bits[two[:, 1]])
    return all_of(
        [
            partners,
            one[:, 0] == two[:, 0],
            index.categories[one[:, 1]] == index.categories[two[:, 1]],
            _any(changed),
        ]
    )


def numbered(columns: Sequence[NDArray[np.integer]]) -> NDArray[np.int64]:
    """Return (n,) int64, equal where all of some (n,) columns are equal, counted from 0."""
    number = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        place = np.unique(column, return_inverse=True)[1].reshape(-1)
        # Numbered anew after each column, so that products cannot overflow.
        combined = number * (int(place.max(initial=0)) + 1) + place
        number = np.unique(combined, return_inverse=True)[1].reshape(-1)
    return number


def _any(bits: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return `(k,)` bool, whether `(k, w)` bit sets have any member."""
    found: NDArray[np.bool_] = np.bitwise_or.reduce(bits.T) != 0
    return found


def _shared(*columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each entry how many have the same numbers, itself included."""
    number = numbered(columns)
    counted: NDArray[np.int64] = np.bincount(number)[number]
    return counted
