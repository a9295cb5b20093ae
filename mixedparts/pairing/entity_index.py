"""The entities that samples are selected from: columns of numbers instead of rows with masks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mixedparts.records import Task


@dataclass(frozen=True)
class EntityIndex:
    """The entities of one source, or of two, in one split, without their masks.

    Attributes:
        rows: `(n,)` int64, row of the entity in the split's entity table.
        images: `(n,)` int64, a number for the entity's image.
        categories: `(n,)` int64, index into `names`.
        names: class names; with two sources a class of both has two entries.
        parts: `(n, p)` bool, visible part names as columns of the sources' vocabulary.
        parts_known: `(n,)` bool, False where the source does not annotate the parts.
        sides: which source each entry of `names` belongs to; empty for a single source.
    """

    rows: NDArray[np.int64]
    images: NDArray[np.int64]
    categories: NDArray[np.int64]
    names: tuple[str, ...]
    parts: NDArray[np.bool_]
    parts_known: NDArray[np.bool_]
    sides: tuple[int, ...] = ()

    @cached_property
    def part_bits(self) -> NDArray[np.uint64]:
        """The visible parts as `(n, w)` uint64 bit sets; w is at least 1."""
        # One operation on 64 bits compares 64 part names. A source has some hundred names, so an
        # entity needs a few integers instead of a row of bytes.
        width = max(1, -(-self.parts.shape[1] // 64))
        bits = np.zeros((len(self.rows), 64 * width), np.bool_)
        bits[:, : self.parts.shape[1]] = self.parts
        return np.packbits(bits, axis=1).view(np.uint64)

    @cached_property
    def other_classes(self) -> NDArray[np.uint64]:
        """The names of the other entities in each entity's image, as `(n, w)` uint64 bit sets."""
        # Classes of one name in two sources are one.
        names = np.unique(self.names, return_inverse=True)[1].reshape(-1)[self.categories]
        word, bit = names // 64, np.uint64(1) << (names % 64).astype(np.uint64)
        shape = int(self.images.max(initial=-1)) + 1, -(-len(self.names) // 64)
        shown = np.zeros(shape, np.uint64)
        np.bitwise_or.at(shown, (self.images, word), bit)
        others = shown[self.images]
        others[np.arange(len(word)), word] &= ~bit
        return others

    def can_serve(self, task: Task) -> NDArray[np.bool_]:
        """Return `(n,)` bool, whether an entity may be in any sample of the task."""
        if task is Task.COMMON_OBJECT:
            return np.ones(len(self.rows), np.bool_)
        return self._shows_parts

    @cached_property
    def _shows_parts(self) -> NDArray[np.bool_]:
        return self.parts_known & self.parts.any(axis=1)

    def across(self, first: int, second: int) -> bool:
        """Return whether two classes may form a pair as far as their sources go."""
        return not self.sides or self.sides[first] != self.sides[second]
