"""Which two entities make a sample: admissible pairs are counted exactly, then drawn.

A pair is two entities of comparable classes in two different images of one source and split
(CALICO, section 4: class pairs that are sensible to compare and share a part).

- `common_object`: one class; also where parts are unknown.
- `common_parts`: at least one part name visible on both.
- `unique_parts`: parts visible on each, at least one of them on one side only.

Entities of a class with the same set of visible parts are alike for these rules, so counting and
drawing work on such sets (`signatures`) and never look at all pairs of entities.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedparts.records import Task

_ENUMERABLE = 1 << 22  # up to so many ordered places a class pair is permuted as a whole


@dataclass(frozen=True, slots=True)
class EntityIndex:
    """What pairing knows of the entities of one source in one split; masks play no part.

    Attributes:
        rows: (n,) int64, row of the entity in the split's entity table.
        images: (n,) int64, a number for the entity's image.
        categories: (n,) int64, index into `names`.
        names: class names.
        parts: (n, p) bool, visible part names as columns of the source's vocabulary.
        parts_known: (n,) bool.
    """

    rows: NDArray[np.int64]
    images: NDArray[np.int64]
    categories: NDArray[np.int64]
    names: tuple[str, ...]
    parts: NDArray[np.bool_]
    parts_known: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Group:
    """Entities of one class, sorted by signature.

    Attributes:
        members: (m,) positions in the index, members of one signature side by side.
        starts: (s + 1,) where each signature's members begin in `members`.
        columns: (c,) int64, the part names that any of them shows, rising.
        signatures: (s, c) float32 of 0 and 1, the sets of visible parts.
        seen: (s,) int64, how many parts each set has.
        known: (s,) bool.
    """

    members: NDArray[np.int64]
    starts: NDArray[np.int64]
    columns: NDArray[np.int64]
    signatures: NDArray[np.float32]
    seen: NDArray[np.int64]
    known: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ClassPair:
    """Two comparable classes (or one with itself) in one task, and how many pairs they admit."""

    task: Task
    first: int
    second: int
    capacity: int


class PairSpace:
    """All admissible pairs of one source in one split."""

    def __init__(self, index: EntityIndex, comparable: Callable[[str, str], bool]) -> None:
        self._index = index
        self._groups = [_group(index, category) for category in range(len(index.names))]
        self.class_pairs: list[ClassPair] = []
        for first in range(len(index.names)):
            for second in range(first, len(index.names)):
                if first == second or comparable(index.names[first], index.names[second]):
                    self._add(first, second)

    def _add(self, first: int, second: int) -> None:
        for task in Task:
            if task is Task.COMMON_OBJECT and first != second:
                continue
            sizes = self._block_sizes(task, first, second)
            capacity = int(sizes.sum()) - self._in_one_image(task, first, second)
            if capacity:
                self.class_pairs.append(ClassPair(task, first, second, capacity))

    def _block_sizes(self, task: Task, first: int, second: int) -> NDArray[np.int64]:
        """Return (s, t) numbers of pairs of signatures, 0 where the task does not admit them."""
        one, two = self._groups[first], self._groups[second]
        sizes = np.multiply.outer(np.diff(one.starts), np.diff(two.starts))
        if first == second:
            count = np.diff(one.starts)
            sizes = np.triu(sizes, 1)
            np.fill_diagonal(sizes, count * (count - 1) // 2)
        return np.where(_admitted(task, one, two), sizes, 0)

    def _in_one_image(self, task: Task, first: int, second: int) -> int:
        """Return how many admitted pairs of two classes stand in the same image."""
        if first == second:
            return 0  # a class has one entity an image
        index = self._index
        one, two = self._groups[first].members, self._groups[second].members
        _, at_one, at_two = np.intersect1d(
            index.images[one], index.images[two], return_indices=True
        )
        one, two = one[at_one], two[at_two]
        return int(_admitted_rows(task, index, one, two).sum())

    def draw(self, pair: ClassPair, number: int, seed: int, key: str) -> NDArray[np.int64]:
        """Draw distinct admissible pairs of a class pair.

        Args:
            number: how many, at most the pair's capacity.
            seed: of the build.
            key: names split and source; with task and class names it keys the random stream.

        Returns:
            (number, 2) int64, rows of the entity table; which comes first is drawn too.
        """
        names = self._index.names
        words = f"{key}|{pair.task}|{names[pair.first]}|{names[pair.second]}"
        rng = philox(seed, words)
        sizes = self._block_sizes(pair.task, pair.first, pair.second)
        total = int(sizes.sum())
        blocks = np.flatnonzero(sizes)
        bounds = np.concatenate(([0], np.cumsum(sizes.ravel()[blocks])))
        places = _Places(self._groups[pair.first], self._groups[pair.second], blocks, bounds)
        same_class = pair.first == pair.second
        if total <= _ENUMERABLE:
            chosen = places.pairs(rng.permutation(total), same_class)
            chosen = self._two_images(chosen)[:number]
        else:
            chosen = self._draw_large(places, same_class, total, number, rng)
        flip = rng.random(number) < 0.5
        chosen[flip] = chosen[flip][:, ::-1]
        return self._index.rows[chosen]

    def _draw_large(
        self, places: _Places, same_class: bool, total: int, number: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        drawn = np.zeros(0, np.int64)
        while True:
            more = rng.integers(0, total, size=number + number // 8 + 64)
            drawn = np.concatenate((drawn, more))
            _, where = np.unique(drawn, return_index=True)
            drawn = drawn[np.sort(where)]
            chosen = self._two_images(places.pairs(drawn, same_class))
            if len(chosen) >= number:
                return chosen[:number]

    def _two_images(self, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
        images = self._index.images[pairs]
        kept: NDArray[np.int64] = pairs[images[:, 0] != images[:, 1]]
        return kept


@dataclass(frozen=True, slots=True)
class _Places:
    """The numbered places 0 .. total-1 of a class pair's admitted pairs, block by block."""

    one: Group
    two: Group
    blocks: NDArray[np.int64]
    bounds: NDArray[np.int64]

    def pairs(self, places: NDArray[np.int64], same_class: bool) -> NDArray[np.int64]:
        """Return the (n, 2) index positions that stand at the places."""
        block = np.searchsorted(self.bounds, places, side="right") - 1
        inside = places - self.bounds[block]
        row, column = np.divmod(self.blocks[block], len(self.two.starts) - 1)
        width = np.diff(self.two.starts)[column]
        left, right = np.divmod(inside, np.maximum(width, 1))
        if same_class:
            diagonal = row == column
            left[diagonal], right[diagonal] = _triangle(inside[diagonal])
        first = self.one.members[self.one.starts[row] + left]
        second = self.two.members[self.two.starts[column] + right]
        return np.stack((first, second), axis=1)


def _triangle(places: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (i, j) with j < i of the place i (i - 1) / 2 + j."""
    row = np.floor((1 + np.sqrt(1 + 8 * places.astype(np.float64))) / 2).astype(np.int64)
    row -= row * (row - 1) // 2 > places
    row += (row + 1) * row // 2 <= places
    return row, places - row * (row - 1) // 2


def _group(index: EntityIndex, category: int) -> Group:
    members = np.flatnonzero(index.categories == category)
    marks = np.column_stack((index.parts_known[members], index.parts[members]))
    signatures, which = np.unique(marks, axis=0, return_inverse=True)
    which = which.reshape(-1)
    order = np.argsort(which, kind="stable")
    counts = np.bincount(which, minlength=len(signatures))
    starts = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    parts = signatures[:, 1:]
    columns = np.flatnonzero(parts.any(axis=0))
    return Group(
        members[order],
        starts,
        columns,
        parts[:, columns].astype(np.float32),
        parts.sum(axis=1),
        signatures[:, 0],
    )


def _admitted(task: Task, one: Group, two: Group) -> NDArray[np.bool_]:
    """Return (s, t) whether the task admits each combination of part sets."""
    if task is Task.COMMON_OBJECT:
        return np.ones((one.known.size, two.known.size), np.bool_)
    known: NDArray[np.bool_] = np.logical_and.outer(one.known, two.known)
    _, in_one, in_two = np.intersect1d(
        one.columns, two.columns, assume_unique=True, return_indices=True
    )
    common = one.signatures[:, in_one] @ two.signatures[:, in_two].T
    if task is Task.COMMON_PARTS:
        return known & (common > 0)
    different: NDArray[np.bool_] = np.add.outer(one.seen, two.seen) - 2 * common > 0
    seen: NDArray[np.bool_] = np.logical_and.outer(one.seen > 0, two.seen > 0)
    return known & different & seen


def _admitted_rows(
    task: Task, index: EntityIndex, one: NDArray[np.int64], two: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return (n,) whether the task admits entity one[i] with entity two[i]."""
    known = index.parts_known[one] & index.parts_known[two]
    first, second = index.parts[one], index.parts[two]
    if task is Task.COMMON_PARTS:
        return known & (first & second).any(axis=1)
    both_seen = first.any(axis=1) & second.any(axis=1)
    return known & both_seen & (first ^ second).any(axis=1)


def philox(seed: int, key: str) -> np.random.Generator:
    """Return the random stream of a build's seed and a key; the same on every machine."""
    digest = hashlib.blake2b(f"{seed}|{key}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
