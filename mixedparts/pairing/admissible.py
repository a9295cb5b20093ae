"""Which two entities make a sample: admissible pairs are counted exactly and can be numbered.

A pair is two entities of comparable classes in two different images of one split (CALICO,
arXiv 2412.19331, section 4: class pairs that are sensible to compare and share a part). Both are
of one source; an index of two sources pairs one entity of each.

- `common_object`: both entities have one class; their parts may be unknown.
- `common_parts`: at least one part name is visible on both.
- `unique_parts`: both show parts, and at least one part name is visible on one of them only.

Entities of a class with the same set of visible parts are interchangeable for these rules.
Counting therefore works on such sets (signatures) and never looks at all pairs of entities: a
class of 2,000 entities has two million pairs, but few different signatures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedparts.pairing.entity_index import EntityIndex
from mixedparts.pairing.lookup import all_of
from mixedparts.records import Task

# Products of matrices with fewer multiplications are computed by one thread of OpenBLAS.
_ONE_THREAD = 1 << 18

Comparable = Callable[[str, str], bool]


@dataclass(frozen=True, slots=True)
class EntityGroup:
    """Entities of one class, sorted by signature: the set of visible parts and `parts_known`.

    Attributes:
        members: `(m,)` int64 positions in the index, members of one signature side by side.
        which: `(m,)` int64, the signature of each member.
        columns: `(c,)` int64, the part names that any of them shows, rising.
        place_of: `(p,)` int64, position of each part name in `columns`, -1 where it is not there.
        signatures: `(s, c)` float32 of 0 and 1, the sets of visible parts.
        seen: `(s,)` int64, how many parts each set has.
        known: `(s,)` bool, whether the parts are known.
    """

    members: NDArray[np.int64]
    which: NDArray[np.int64]
    columns: NDArray[np.int64]
    place_of: NDArray[np.int64]
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


@dataclass(frozen=True, slots=True)
class PairNumbering:
    """Numbers 0 .. total-1 for the pairs that a class pair admits, without a list of them.

    A block is all pairs of one signature of the first class with one of the second. Numbers run
    through the admitted blocks one after the other. A number may stand for two entities of one
    image, which are no sample; the caller drops those.

    Attributes:
        first, second: `(m,)` int64, usable members of either class, sorted by signature.
        starts: for either class `(s + 1,)` int64, where each signature's members begin.
        blocks: `(b,)` int64, the admitted blocks, as signature of the first class times the number
            of signatures of the second plus signature of the second.
        bounds: `(b + 1,)` int64, the first number of each block, and `total`.
        same_class: the class is paired with itself; each unordered pair has one number.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    starts: tuple[NDArray[np.int64], NDArray[np.int64]]
    blocks: NDArray[np.int64]
    bounds: NDArray[np.int64]
    same_class: bool

    @property
    def total(self) -> int:
        """How many numbers there are."""
        return int(self.bounds[-1])

    def pairs(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the `(n, 2)` int64 index positions of `(n,)` numbers in `[0, total)`."""
        block = np.searchsorted(self.bounds, numbers, side="right") - 1
        inside = numbers - self.bounds[block]
        row, column = np.divmod(self.blocks[block], len(self.starts[1]) - 1)
        width = np.diff(self.starts[1])[column]
        left, right = np.divmod(inside, np.maximum(width, 1))
        # Pairs within one signature of one class form a triangle instead of a rectangle.
        if self.same_class:
            diagonal = row == column
            left[diagonal], right[diagonal] = _triangle(inside[diagonal])
        first = self.first[self.starts[0][row] + left]
        second = self.second[self.starts[1][column] + right]
        return np.stack((first, second), axis=1)


class PairSpace:
    """All admissible pairs of one source, or across two sources, in one split.

    Args:
        index: the entities.
        comparable: whether two different class names are comparable.

    Attributes:
        groups: the entity group of each entry of `index.names`.
        class_pairs: those that admit any pair, task by task for every two classes.
        partners: for each task `(n,)` int64, how many entities each could form a pair with; those
            in its own image are counted too.
    """

    def __init__(self, index: EntityIndex, comparable: Comparable) -> None:
        self.index = index
        self.comparable = comparable
        self.groups = [_group(index, category) for category in range(len(index.names))]
        self._crowded = np.unique(index.images).size < len(index.images)
        self.class_pairs: list[ClassPair] = []
        self.partners = {task: np.zeros(len(index.rows), np.int64) for task in Task}
        for first in range(len(index.names)):
            for second in range(first, len(index.names)):
                if index.across(first, second) and self.alike(first, second):
                    self._add(first, second)

    def alike(self, first: int, second: int) -> bool:
        """Return whether two classes have one name or are declared comparable."""
        one, two = self.index.names[first], self.index.names[second]
        return one == two or self.comparable(one, two)

    def _add(self, first: int, second: int) -> None:
        one, two = self.groups[first], self.groups[second]
        ones, twos = (np.bincount(of.which, minlength=of.seen.size) for of in (one, two))
        common = _common(one, two)
        for task in Task:
            if task is Task.COMMON_OBJECT and self.index.names[first] != self.index.names[second]:
                continue
            fit = _admitted(task, one, two, common)
            # Members of one signature have the same partners: one product over signatures counts
            # them.
            with_two = fit.astype(np.int64) @ twos
            if first == second:
                # An entity is no partner of its own, though its signature may fit itself. Of one
                # class, every pair is counted from both of its ends.
                with_two -= np.diag(fit)
                total = int(ones @ with_two) // 2
            else:
                total = int(ones @ with_two)
            capacity = total - self._in_one_image(task, first, second) if total else 0
            if not capacity:
                continue
            self.class_pairs.append(ClassPair(task, first, second, capacity))
            self.partners[task][one.members] += with_two[one.which]
            if first != second:
                self.partners[task][two.members] += (ones @ fit.astype(np.int64))[two.which]

    def numbering(self, pair: ClassPair, usable: NDArray[np.bool_] | None = None) -> PairNumbering:
        """Number the admitted pairs of a class pair.

        Args:
            pair: one of `class_pairs`.
            usable: `(n,)` bool over the index; only these entities count. None: all.
        """
        one, two = self.groups[pair.first], self.groups[pair.second]
        fit = _admitted(pair.task, one, two, _common(one, two))
        return self._numbering(pair.first, pair.second, fit, usable)

    def _numbering(
        self, first: int, second: int, fit: NDArray[np.bool_], usable: NDArray[np.bool_] | None
    ) -> PairNumbering:
        (one, ones), (two, twos) = (
            _usable(self.groups[place], usable) for place in (first, second)
        )
        sizes = np.multiply.outer(ones, twos)
        # One class: (a, b) and (b, a) are the same pair, so only the upper triangle counts.
        if first == second:
            sizes = np.triu(sizes, 1)
            np.fill_diagonal(sizes, ones * (ones - 1) // 2)
        sizes = np.where(fit, sizes, 0).ravel()
        blocks = np.flatnonzero(sizes)
        starts = _starts(ones), _starts(twos)
        return PairNumbering(one, two, starts, blocks, _starts(sizes[blocks]), first == second)

    def _in_one_image(self, task: Task, first: int, second: int) -> int:
        """Return how many admitted pairs of two classes have both entities in one image."""
        # A class has one entity an image, so a class never meets itself there. For the same reason
        # image numbers are unique within a group, as `intersect1d` with indices needs them.
        if first == second or not self._crowded:
            return 0
        index = self.index
        one, two = self.groups[first].members, self.groups[second].members
        _, at_one, at_two = np.intersect1d(
            index.images[one], index.images[two], return_indices=True
        )
        return int(admitted_rows(task, index, np.stack((one[at_one], two[at_two]), axis=1)).sum())


def _usable(
    group: EntityGroup, usable: NDArray[np.bool_] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the usable members of a class, and how many of them each signature has."""
    members, which = group.members, group.which
    if usable is not None:
        chosen = usable[members]
        members, which = members[chosen], which[chosen]
    return members, np.bincount(which, minlength=group.seen.size)


def _starts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where runs of these lengths begin, and where the last one ends."""
    return np.concatenate(([0], np.cumsum(counts))).astype(np.int64)


def _triangle(places: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (i, j) with j < i of the numbers i (i - 1) / 2 + j."""
    # The square root in float64 can be off by one for large numbers; the next two lines repair it.
    row = np.floor((1 + np.sqrt(1 + 8 * places.astype(np.float64))) / 2).astype(np.int64)
    row -= row * (row - 1) // 2 > places
    row += (row + 1) * row // 2 <= places
    return row, places - row * (row - 1) // 2


def _group(index: EntityIndex, category: int) -> EntityGroup:
    members = np.flatnonzero(index.categories == category)
    # No part visible and parts unknown are different signatures: the flag is the first column.
    shown = index.parts[members]
    columns = np.flatnonzero(shown.any(axis=0))
    marks = np.column_stack((index.parts_known[members], shown[:, columns]))
    first, which, order = _unique_rows(marks)
    signatures = marks[first]
    parts = signatures[:, 1:]
    place_of = np.full(index.parts.shape[1], -1)
    place_of[columns] = np.arange(columns.size)
    return EntityGroup(
        members[order],
        which[order],
        columns,
        place_of,
        parts.astype(np.float32),
        parts.sum(axis=1),
        signatures[:, 0],
    )


def _unique_rows(
    marks: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the first of each different row in rising order, each row's number, and an order.

    The order sorts the rows stably. `np.unique` of rows compares them byte by byte, which takes ten
    times as long as this on 64 columns at a time.
    """
    packed = np.packbits(marks, axis=1)
    padded = np.zeros((len(marks), -(-packed.shape[1] // 8) * 8), np.uint8)
    padded[:, : packed.shape[1]] = packed
    # The first column is the highest bit, so numbers compare as the rows do.
    words = padded.view(">u8").astype(np.uint64)
    order = np.lexsort(words.T[::-1])
    ordered = words[order]
    new = np.append(True, (ordered[1:] != ordered[:-1]).any(axis=1))[: len(order)]
    which = np.empty(len(order), np.int64)
    which[order] = np.cumsum(new) - 1
    return order[new], which, order


def _common(one: EntityGroup, two: EntityGroup) -> NDArray[np.float32]:
    """Return `(s, t)` float32, how many parts each combination of signatures has in common."""
    # Only part names of both groups can be common. The matrix product counts them for every two
    # signatures at once; float32 uses the fast BLAS path and is exact for such small counts.
    in_one = one.place_of[two.columns]
    in_both = in_one >= 0
    left, right = one.signatures[:, in_one[in_both]], two.signatures[:, in_both].T
    # Row by row for large products: OpenBLAS would divide them between threads, which then wait
    # by spinning and take more CPU time than the product.
    rows = max(1, _ONE_THREAD // max(1, right.size))
    if rows >= len(left):
        return left @ right
    blocks = [left[start : start + rows] @ right for start in range(0, len(left), rows)]
    return np.concatenate(blocks)


def _admitted(
    task: Task, one: EntityGroup, two: EntityGroup, common: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Return `(s, t)` bool, whether the task admits each combination of signatures.

    Args:
        task: of the samples.
        one: group of the first signatures.
        two: group of the second signatures.
        common: as `_common` returns it for them.
    """
    if task is Task.COMMON_OBJECT:
        return np.ones((one.known.size, two.known.size), np.bool_)
    known: NDArray[np.bool_] = np.logical_and.outer(one.known, two.known)
    if task is Task.COMMON_PARTS:
        return known & (common > 0)
    # |A| + |B| - 2 |A and B| is the size of the symmetric difference.
    different: NDArray[np.bool_] = np.add.outer(one.seen, two.seen) - 2 * common > 0
    seen: NDArray[np.bool_] = np.logical_and.outer(one.seen > 0, two.seen > 0)
    return known & different & seen


def admitted_rows(task: Task, index: EntityIndex, members: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether the parts of each row's entities fit the task.

    Common parts are visible on all n entities, unique parts on exactly one of them. Classes and
    images are not checked.

    Args:
        task: of the samples.
        index: the entities.
        members: `(k, n)` int64 index positions, one row a sample.

    Returns:
        `(k,)` bool.
    """
    able = index.can_serve(task)
    fit = all_of([able[column] for column in members.T])
    if task is Task.COMMON_OBJECT:
        return fit
    bits = index.part_bits
    # Bits of parts seen on all entities so far (common), or on at least one and on at least two of
    # them (unique).
    seen = bits[members[:, 0]]
    repeated = np.zeros_like(seen)
    for column in members.T[1:]:
        if task is Task.COMMON_PARTS:
            seen = seen & bits[column]
        else:
            repeated |= seen & bits[column]
            seen = seen | bits[column]
    shown: NDArray[np.bool_] = np.bitwise_or.reduce((seen & ~repeated).T) != 0
    return fit & shown
