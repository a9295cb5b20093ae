"""From the pairs of a bundle's records to samples: the entity, or view of one, of each image."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from mixedparts.interchange.bundle_import.contract import Ids, RecordEntry, Refused
from mixedparts.interchange.bundle_import.entities import AnnotationBook, View, key_of
from mixedparts.pairing.samples import TASKS
from mixedparts.records import Reason, Task

_COMMON_OBJECT, _COMMON_PARTS, _UNIQUE_PARTS = (
    TASKS.index(task) for task in (Task.COMMON_OBJECT, Task.COMMON_PARTS, Task.UNIQUE_PARTS)
)


class SampleList:
    """The rows of a split, and the views that they use: an entity with some of its parts.

    Args:
        book: the entities of the split.
        has_mask: (n,) bool, whether each entity of the book has a mask.
        part_has_mask: (p,) bool, whether each part of the book has a mask.

    Attributes:
        numbers: view -> number, in the order of first use.
        rows: four integers a row: first view, second view, task, position of the record.
    """

    def __init__(
        self, book: AnnotationBook, has_mask: NDArray[np.bool_], part_has_mask: NDArray[np.bool_]
    ) -> None:
        self._book = book
        self._has_mask = has_mask
        self._part_has_mask = part_has_mask
        self.numbers: dict[View, int] = {}
        # A flat array takes 32 bytes a row; a list of tuples would take several times that for the
        # millions of rows of a full bundle.
        self.rows = array("q")

    def base(self, entity: int) -> dict[str, int]:
        """Return an entity's parts, name -> number: for each name the first part with a mask."""
        parts: dict[str, int] = {}
        for (name, _), number in self._book.entities[entity].parts.items():
            if self._part_has_mask[number]:
                parts.setdefault(name, number)
        return parts

    def _numbers(self, views: Iterable[tuple[int, Iterable[int]]]) -> list[int]:
        """Return the numbers of views, and number those that are new."""
        keys: list[View] = [(entity, frozenset(parts)) for entity, parts in views]
        return [self.numbers.setdefault(key, len(self.numbers)) for key in keys]

    def add(self, entry: RecordEntry, position: int) -> Iterator[Refused]:
        """Add the rows of a record entry; yield the reason if it gives none.

        An entry with common and unique parts gives two rows. The rows are added while the caller
        iterates, so the iterator must be exhausted.
        """
        entities = [self._book.numbers[key_of(entry.source, side)] for side in entry.sides]
        lost_objects = [
            side.image
            for side, entity in zip(entry.sides, entities, strict=True)
            if not self._has_mask[entity]
        ]
        if lost_objects:
            detail = f"no usable object in image {' and '.join(lost_objects)}"
            yield Refused(entry.name, entry.source, Reason.ORPHAN_PAIR, detail)
            return
        base = [self.base(entity) for entity in entities]
        whole = list(zip(entities, [parts.values() for parts in base], strict=True))
        if entry.is_object:
            self.rows.extend((*self._numbers(whole), _COMMON_OBJECT, position))
            return
        common, unique = self._usable(entry, entities)
        # If none of the parts that a record lists for an image is usable, a row would wrongly claim
        # that the image shows no part.
        lost_parts = [
            side.image
            for entity, side in zip(entities, entry.sides, strict=True)
            if (side.common or side.unique) and not self._parts(entity, side.common | side.unique)
        ]
        if lost_parts or not any((*common, *unique)):
            detail = "no part is left"
            if lost_parts:
                detail = f"no usable part in image {' and '.join(lost_parts)}"
            yield Refused(entry.name, entry.source, Reason.ORPHAN_PAIR, detail)
            return
        listed_only = [
            (entity, (*shared.values(), *alone.values()))
            for entity, shared, alone in zip(entities, common, unique, strict=True)
        ]
        # The writing stage derives the parts of a row from its entities. Where that would give
        # other parts than the record lists, the row uses views with exactly the listed parts.
        views = self._numbers(whole if _agrees(base, common, unique) else listed_only)
        if common[0]:
            self.rows.extend((*views, _COMMON_PARTS, position))
        if unique[0] or unique[1]:
            self.rows.extend((*views, _UNIQUE_PARTS, position))

    def _usable(
        self, entry: RecordEntry, entities: list[int]
    ) -> tuple[list[dict[str, int]], list[dict[str, int]]]:
        """Return an entry's common and unique parts with masks, image by image, name -> number.

        A common part counts only if it has a mask in both images.
        """
        common = [
            self._parts(entity, side.common)
            for entity, side in zip(entities, entry.sides, strict=True)
        ]
        both = set(common[0]) & set(common[1])
        common = [{name: n for name, n in parts.items() if name in both} for parts in common]
        unique = [
            self._parts(entity, side.unique)
            for entity, side in zip(entities, entry.sides, strict=True)
        ]
        return common, unique

    def _parts(self, entity: int, listed: dict[str, Ids]) -> dict[str, int]:
        """Return name -> number of those listed parts of an entity that have a mask."""
        numbered = self._book.entities[entity].parts
        numbers = {name: numbered[name, ids] for name, ids in listed.items()}
        return {name: number for name, number in numbers.items() if self._part_has_mask[number]}


def _agrees(
    base: list[dict[str, int]], common: list[dict[str, int]], unique: list[dict[str, int]]
) -> bool:
    """Return whether the listed parts are those that follow from the two entities.

    Common parts are the names that both entities have, unique parts all others (CALICO, section
    3). An entry may list one of the two kinds only; the other kind is then not compared.
    """
    shared = set(base[0]) & set(base[1])
    for own, listed in zip(base, common, strict=True):
        if listed and listed != {name: n for name, n in own.items() if name in shared}:
            return False
    if unique[0] or unique[1]:
        for own, listed in zip(base, unique, strict=True):
            if listed != {name: n for name, n in own.items() if name not in shared}:
                return False
    return True
