"""From the pairs of a bundle's records to samples, each of two entities and a task."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator

from mixedparts.interchange.bundle_import.agreement import Agreement
from mixedparts.interchange.bundle_import.contract import RecordEntry, Refused
from mixedparts.interchange.bundle_import.entities import AnnotationBook, key_of
from mixedparts.pairing.samples import TASKS
from mixedparts.records import Reason, Task

_COMMON_OBJECT, _COMMON_PARTS, _UNIQUE_PARTS = (
    TASKS.index(task) for task in (Task.COMMON_OBJECT, Task.COMMON_PARTS, Task.UNIQUE_PARTS)
)
_Parts = tuple[dict[str, int], dict[str, int]]  # of the two images, part name -> number


class SampleList:
    """The rows of a split.

    A build derives the parts of a row from its two entities: common parts are the names that both
    have, unique parts all others (CALICO, section 3). So an entry gives a row only if the parts
    that it lists are those that follow.

    Args:
        book: the entities that the records name.
        agreement: the entities of the split, settled.

    Attributes:
        rows: four integers a row: the owner of each entity, task, position of the record.
    """

    def __init__(self, book: AnnotationBook, agreement: Agreement) -> None:
        self._book = book
        self._agreement = agreement
        # A flat array takes 32 bytes a row; a list of tuples would take several times that for the
        # millions of rows of a full bundle.
        self.rows = array("q")

    def add(self, entry: RecordEntry, position: int) -> Iterator[Refused]:
        """Add the rows of a record entry; yield a reason for every row that it cannot give.

        An entry with common and unique parts gives two rows. The rows are added while the caller
        iterates, so the iterator must be exhausted.
        """
        numbers = [self._book.numbers[key_of(entry.source, side)] for side in entry.sides]
        owners = [self._agreement.owner(number) for number in numbers]
        lost = [
            side.image
            for side, number in zip(entry.sides, numbers, strict=True)
            if not self._agreement.has_mask(number)
        ]
        if lost:
            yield _orphan(entry, f"no usable object in image {' and '.join(lost)}")
            return
        differing = [
            f"{side.category} in image {side.image}"
            for side, number in zip(entry.sides, numbers, strict=True)
            if not self._agreement.agrees(number)
        ]
        if differing:
            detail = f"another mask of {' and of '.join(differing)} is on record"
            yield Refused(entry.name, entry.source, Reason.CONTRADICTED, detail)
        elif entry.is_object:
            self.rows.extend((*owners, _COMMON_OBJECT, position))
        else:
            yield from self._add_parts(entry, numbers, owners, position)

    def _add_parts(
        self, entry: RecordEntry, numbers: list[int], owners: list[int], position: int
    ) -> Iterator[Refused]:
        """Add the rows of an entry that lists parts; yield a reason for every row not added."""
        first, second = (
            self._agreement.listed(number, side.common)
            for number, side in zip(numbers, entry.sides, strict=True)
        )
        # A common part without a mask in one of the images is none.
        common = _only(first, second), _only(second, first)
        unique = (
            self._agreement.listed(numbers[0], entry.sides[0].unique),
            self._agreement.listed(numbers[1], entry.sides[1].unique),
        )
        # If none of the parts that a record lists for an image is usable, a row would wrongly claim
        # that the image shows no part.
        lost = [
            side.image
            for side, usable, own in zip(entry.sides, (first, second), unique, strict=True)
            if (side.common or side.unique) and not (usable or own)
        ]
        if lost or not any((*common, *unique)):
            where = f"no usable part in image {' and '.join(lost)}" if lost else "no part is left"
            yield _orphan(entry, where)
            return
        one, two = (self._agreement.parts(owner) for owner in owners)
        if any(common):
            follows = _only(one, two), _only(two, one)
            if common == follows:
                self.rows.extend((*owners, _COMMON_PARTS, position))
            else:
                yield _contradicted(entry, "common", common, follows)
        if any(unique):
            follows = _without(one, two), _without(two, one)
            halves = _differing(unique, follows) & _names(side.common for side in entry.sides)
            if unique == follows and one and two:
                self.rows.extend((*owners, _UNIQUE_PARTS, position))
            elif halves:
                names = ", ".join(sorted(halves))
                yield _orphan(entry, f"unique parts: {names} has a usable mask in one image only")
            elif unique == follows:
                yield _orphan(entry, "unique parts: no part is known of one of the images")
            else:
                yield _contradicted(entry, "unique", unique, follows)


def _only(parts: dict[str, int], others: dict[str, int]) -> dict[str, int]:
    """Return the parts whose name is among the others."""
    return {name: number for name, number in parts.items() if name in others}


def _without(parts: dict[str, int], others: dict[str, int]) -> dict[str, int]:
    """Return the parts whose name is not among the others."""
    return {name: number for name, number in parts.items() if name not in others}


def _names(parts: Iterable[Collection[str]]) -> set[str]:
    """Return the names of the parts of both images."""
    return {name for names in parts for name in names}


def _differing(listed: _Parts, follows: _Parts) -> set[str]:
    """Return the names that only one of two has, or that have another mask."""
    return {
        name
        for ours, theirs in zip(listed, follows, strict=True)
        for name, _ in ours.items() ^ theirs.items()
    }


def _orphan(entry: RecordEntry, detail: str) -> Refused:
    return Refused(entry.name, entry.source, Reason.ORPHAN_PAIR, detail)


def _contradicted(entry: RecordEntry, kind: str, listed: _Parts, follows: _Parts) -> Refused:
    names = ", ".join(sorted(_differing(listed, follows)))
    detail = f"{kind} parts: other records state other masks, or other images, of {names}"
    return Refused(entry.name, entry.source, Reason.CONTRADICTED, detail)
