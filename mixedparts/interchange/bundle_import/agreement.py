"""One entity for each class of an image, although records may contradict each other.

A build has one mask for a class in an image, and one set of parts. In a consistent bundle every
record states these. If records differ, what most of them agree with is the entity, and the pairs of
the others are refused: damage to one record then costs the pairs of this record alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar

from mixedparts.interchange.bundle_import.contract import Ids, RecordEntry
from mixedparts.interchange.bundle_import.entities import AnnotationBook, key_of

T = TypeVar("T")
# What a record states about a class in an image: the entity of the book with its mask, its parts as
# bits, and whether these are all its parts. An entry that lists common and unique parts states all;
# another one may leave out parts that the other image has not, or has as well.
Statement = tuple[int, int, bool]


class Agreement:
    """The entities of a split, one for each source, image and class.

    Give every entry of the records to `count`, then call `settle`.

    Args:
        book: the entities that the records name, by their annotation ids.
        object_mask: returns the run lengths of an entity of the book; None if it has no mask.
        part_mask: returns the same of a part of the book.

    Attributes:
        owners: number -> (source, upstream image id, class).
        objects: number of an owner -> number in the book of the entity that has its mask; -1 if
            none of its entities has a mask.
    """

    def __init__(
        self,
        book: AnnotationBook,
        object_mask: Callable[[int], bytes | None],
        part_mask: Callable[[int], bytes | None],
    ) -> None:
        self._book = book
        numbers: dict[tuple[str, str, str], int] = {}
        self._owner_of = [numbers.setdefault(e.key[:3], len(numbers)) for e in book.entities]
        self.owners = list(numbers)
        self.objects = [-1] * len(numbers)
        # Other ids can mean the same pixels, such as those of two chairs of which one is rejected.
        self._same_object = _first_equal(enumerate(self._owner_of), object_mask)
        self._names = [""] * book.part_count
        keyed: list[tuple[int, tuple[int, str]]] = []
        for entity, owner in zip(book.entities, self._owner_of, strict=True):
            for (name, _), part in entity.parts.items():
                self._names[part] = name
                keyed.append((part, (owner, name)))
        self._same_part = _first_equal(keyed, part_mask)
        # A part is a bit of its owner: sets of parts are then integers, of which a full bundle has
        # millions.
        self._part_bits: dict[int, int] = {}
        self._parts_of: list[list[int]] = [[] for _ in numbers]
        for part, (owner, _) in keyed:
            if self._same_part.get(part) == part:
                self._part_bits[part] = 1 << len(self._parts_of[owner])
                self._parts_of[owner].append(part)
        self._votes: list[dict[Statement, int]] = [{} for _ in numbers]
        self._chosen: list[dict[str, int]] = [{} for _ in numbers]

    def count(self, entry: RecordEntry) -> None:
        """Count what an entry states about its two entities."""
        whole = any(side.common for side in entry.sides) and any(s.unique for s in entry.sides)
        for side in entry.sides:
            number = self._book.numbers[key_of(entry.source, side)]
            if number in self._same_object:
                bits = 0
                for part in self.listed(number, side.common | side.unique).values():
                    bits |= self._part_bits[part]
                votes = self._votes[self._owner_of[number]]
                statement = self._same_object[number], bits, whole
                votes[statement] = votes.get(statement, 0) + 1

    def settle(self) -> None:
        """Choose the mask and the parts of every owner."""
        for number, entity in enumerate(self._book.entities):
            # An exported bundle: the build had the entities of the annotation files.
            if entity.file_parts is not None and number in self._same_object:
                owner = self._owner_of[number]
                self.objects[owner] = self._same_object[number]
                same = (self._same_part.get(part) for part in entity.file_parts)
                self._chosen[owner] = {self._names[p]: p for p in same if p is not None}
        for owner, votes in enumerate(self._votes):
            if self.objects[owner] < 0 and votes:
                objects: Counter[int] = Counter()
                for (entity_number, _, _), number in votes.items():
                    objects[entity_number] += number
                # Of equally many the first, which is named first.
                chosen = max(objects, key=objects.__getitem__)
                self.objects[owner] = chosen
                stated = Counter({v[1:]: n for v, n in votes.items() if v[0] == chosen})
                self._chosen[owner] = self._most_agreed(owner, stated)

    def _most_agreed(self, owner: int, stated: Counter[tuple[int, bool]]) -> dict[str, int]:
        """Return name -> part of the set of parts that most statements agree with."""
        votes: Counter[int] = Counter()
        for (bits, _), number in stated.items():
            for part in self._parts_of[owner]:
                if bits & self._part_bits[part]:
                    votes[part] += number
        union: dict[str, int] = {}
        # Of two masks under one name the one that more records name.
        for part in sorted(votes, key=lambda part: (-votes[part], part)):
            union.setdefault(self._names[part], part)
        every = sum(self._part_bits[part] for part in union.values())
        candidates = dict.fromkeys([*(bits for bits, whole in stated if whole), every])

        def agreeing(candidate: int) -> int:
            return sum(
                number
                for (bits, whole), number in stated.items()
                if bits == candidate or (not whole and bits & ~candidate == 0)
            )

        best = max(candidates, key=agreeing)
        return {
            self._names[part]: part
            for part in self._parts_of[owner]
            if best & self._part_bits[part]
        }

    def owner(self, entity: int) -> int:
        """Return the owner of an entity of the book."""
        return self._owner_of[entity]

    def has_mask(self, entity: int) -> bool:
        """Return whether an entity of the book has a mask."""
        return entity in self._same_object

    def agrees(self, entity: int) -> bool:
        """Return whether the mask of an entity of the book, which it has, is that of its owner."""
        return self._same_object[entity] == self.objects[self._owner_of[entity]]

    def parts(self, owner: int) -> dict[str, int]:
        """Return the parts of an owner, name -> number in the book."""
        return self._chosen[owner]

    def listed(self, entity: int, parts: dict[str, Ids]) -> dict[str, int]:
        """Return name -> number of those listed parts of an entity that have a mask.

        Of parts with equal pixels the number is that of the first, so numbers can be compared.
        """
        numbered = self._book.entities[entity].parts
        numbers = ((name, self._same_part.get(numbered[name, ids])) for name, ids in parts.items())
        return {name: number for name, number in numbers if number is not None}


def _first_equal(
    items: Iterable[tuple[int, T]], mask: Callable[[int], bytes | None]
) -> dict[int, int]:
    """Return number -> first number of the same key and mask; numbers without a mask are left out.

    Args:
        items: (number, key) in the order of the numbers.
        mask: returns the run lengths of a number's mask, or None.

    Returns:
        The first numbers.
    """
    distinct: dict[T, list[int]] = {}
    same: dict[int, int] = {}
    for number, key in items:
        counts = mask(number)
        if counts is None:
            continue
        others = distinct.setdefault(key, [])
        # Read again instead of kept: the masks of a full split do not fit into memory.
        same[number] = next((other for other in others if mask(other) == counts), number)
        if same[number] == number:
            others.append(number)
    return same
