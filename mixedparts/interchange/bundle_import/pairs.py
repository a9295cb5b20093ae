"""From stated pairs to samples: which entity, or view of one, stands on each side of a row."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from builders.bundle_records import Ids, RecordEntry
from mixedparts.interchange.bundle_import.entities import AnnotationBook, View, key_of
from mixedparts.pairing.samples import TASKS
from mixedparts.records import Reason, Task

_COMMON_OBJECT, _COMMON_PARTS, _UNIQUE_PARTS = (
    TASKS.index(task) for task in (Task.COMMON_OBJECT, Task.COMMON_PARTS, Task.UNIQUE_PARTS)
)


@dataclass(frozen=True, slots=True)
class DroppedPair:
    """A stated pair that gives no row; `name` is its place in the file."""

    name: str
    source: str
    reason: Reason
    detail: str


class SampleList:
    """The entities that rows use, as views: an entity with some of its parts.

    Args:
        alive: (n,) whether each entity of the book has a mask.
        alive_parts: (p,) whether each part has one.
    """

    def __init__(
        self, book: AnnotationBook, alive: NDArray[np.bool_], alive_parts: NDArray[np.bool_]
    ) -> None:
        self._book = book
        self._alive = alive
        self._alive_parts = alive_parts
        self.numbers: dict[View, int] = {}
        self.rows = array("q")  # first view, second view, task, position of the record; repeated

    def base(self, entity: int) -> dict[str, int]:
        """Return the parts of an entity, name -> number; the first of a name with a mask."""
        found: dict[str, int] = {}
        for (name, _), number in self._book.entities[entity].parts.items():
            if self._alive_parts[number]:
                found.setdefault(name, number)
        return found

    def _numbers(self, views: Iterable[tuple[int, Iterable[int]]]) -> list[int]:
        """Return the numbers of views."""
        keys: list[View] = [(entity, frozenset(parts)) for entity, parts in views]
        return [self.numbers.setdefault(key, len(self.numbers)) for key in keys]

    def add(self, stated: RecordEntry, position: int) -> Iterator[DroppedPair]:
        """Add the rows that a stated pair gives; yield why it gives none."""
        entities = [self._book.numbers[key_of(stated.source, side)] for side in stated.sides]
        dead = [
            side.image
            for side, entity in zip(stated.sides, entities, strict=True)
            if not self._alive[entity]
        ]
        if dead:
            detail = f"no usable object in image {' and '.join(dead)}"
            yield DroppedPair(stated.name, stated.source, Reason.ORPHAN_PAIR, detail)
            return
        base = [self.base(entity) for entity in entities]
        whole = list(zip(entities, [parts.values() for parts in base], strict=True))
        if stated.is_object:
            self.rows.extend((*self._numbers(whole), _COMMON_OBJECT, position))
            return
        common, unique = self._usable(stated, entities)
        # An image whose stated parts are all lost would look as if it showed none.
        bare = [
            side.image
            for entity, side in zip(entities, stated.sides, strict=True)
            if (side.common or side.unique) and not self._parts(entity, side.common | side.unique)
        ]
        if bare or not any((*common, *unique)):
            detail = f"no usable part in image {' and '.join(bare)}" if bare else "no part is left"
            yield DroppedPair(stated.name, stated.source, Reason.ORPHAN_PAIR, detail)
            return
        stated_only = [
            (entity, (*shared.values(), *alone.values()))
            for entity, shared, alone in zip(entities, common, unique, strict=True)
        ]
        own = self._numbers(whole if _agrees(base, common, unique) else stated_only)
        if common[0]:
            self.rows.extend((*own, _COMMON_PARTS, position))
        if unique[0] or unique[1]:
            self.rows.extend((*own, _UNIQUE_PARTS, position))

    def _usable(
        self, stated: RecordEntry, entities: list[int]
    ) -> tuple[list[dict[str, int]], list[dict[str, int]]]:
        """Return the common and the unique parts with masks; a common one needs both."""
        common = [
            self._parts(entity, side.common)
            for entity, side in zip(entities, stated.sides, strict=True)
        ]
        both = set(common[0]) & set(common[1])
        common = [{name: n for name, n in mine.items() if name in both} for mine in common]
        unique = [
            self._parts(entity, side.unique)
            for entity, side in zip(entities, stated.sides, strict=True)
        ]
        return common, unique

    def _parts(self, entity: int, stated: dict[str, Ids]) -> dict[str, int]:
        known = self._book.entities[entity].parts
        numbers = {name: known[name, ids] for name, ids in stated.items()}
        return {name: number for name, number in numbers.items() if self._alive_parts[number]}


def _agrees(
    base: list[dict[str, int]], common: list[dict[str, int]], unique: list[dict[str, int]]
) -> bool:
    """Tell whether the stated parts are those that follow from the two entities."""
    shared = set(base[0]) & set(base[1])
    for mine, stated in zip(base, common, strict=True):
        if stated and stated != {name: n for name, n in mine.items() if name in shared}:
            return False
    if unique[0] or unique[1]:
        for mine, alone in zip(base, unique, strict=True):
            if alone != {name: n for name, n in mine.items() if name not in shared}:
                return False
    return True
