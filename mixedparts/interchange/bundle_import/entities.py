"""Entities that a bundle's records name, and their masks.

A record names an entity by annotation ids. What all records say of one class of one image taken
together is that entity; in a bundle that agrees with itself, common and unique parts of every pair
follow from their entities. Where a record says otherwise, it gets an entity of its own with just
the parts that it names (a view), so that its row is what it states.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from builders.bundle_records import Ids, RecordEntry, RecordSide
from mixedparts import masks
from mixedparts.entities.normalise import Names, plain
from mixedparts.masks import Rle
from mixedparts.records import ImageRecord, Level, PartInstance, Reason, Reject

Key = tuple[str, str, str, Ids]  # source, upstream image id, class, ids of its objects
View = tuple[int, frozenset[int]]  # entity, parts


@dataclass(slots=True)
class BundleEntity:
    """One class in one image, under the ids that a record gives it.

    Attributes:
        parts: (name, ids) -> number of the part in the book; the first of a name is the entity's.
        parts_told: whether anything is said about its parts, be it that there are none.
    """

    key: Key
    parts_told: bool = False
    parts: dict[tuple[str, Ids], int] = field(default_factory=dict)


class AnnotationBook:
    """All entities of one split, numbered in the order in which they are first named."""

    def __init__(self) -> None:
        self.entities: list[BundleEntity] = []
        self.numbers: dict[Key, int] = {}
        self.of_image: dict[tuple[str, str], list[int]] = {}
        self.part_count = 0

    def note(self, stated: RecordEntry) -> None:
        """Take in what a record says of its two entities."""
        for side in stated.sides:
            number = self.add(key_of(stated.source, side))
            self.entities[number].parts_told |= not stated.is_object
            for name, ids in (*side.common.items(), *side.unique.items()):
                self.add_part(number, name, ids)

    def add(self, key: Key) -> int:
        """Return the number of an entity."""
        number = self.numbers.get(key)
        if number is None:
            number = self.numbers[key] = len(self.entities)
            self.entities.append(BundleEntity(key))
            self.of_image.setdefault(key[:2], []).append(number)
        return number

    def add_part(self, entity: int, name: str, ids: Ids) -> int:
        """Return the number of a part of an entity."""
        parts = self.entities[entity].parts
        if (name, ids) not in parts:
            parts[name, ids] = self.part_count
            self.part_count += 1
        return parts[name, ids]

    def images(self, source: str) -> set[str]:
        """Return the upstream ids of the images of a source that records name."""
        return {image for owner, image in self.of_image if owner == source}


def key_of(source: str, side: RecordSide) -> Key:
    """Return what tells an entity from all others."""
    return source, side.image, side.category, side.objects


@dataclass(frozen=True, slots=True)
class ResolvedMask:
    """An entity with its masks.

    Attributes:
        number: of the entity in the book.
        mask: union of its objects.
        parts: number of a part -> union of its annotations.
    """

    number: int
    mask: Rle
    parts: dict[int, Rle]


class Resolver:
    """Finds the masks of one source's entities.

    Args:
        file: what the source's annotation file is called in rejects.
        refused: ids of annotations that the reader refused, which need no second word.
    """

    def __init__(
        self, book: AnnotationBook, source: str, split: str, file: str, names: Names
    ) -> None:
        self._book = book
        self._source = source
        self._split = split
        self._file = file
        self._names = names
        self.refused: set[str] = set()

    def note_all(self, record: ImageRecord) -> None:
        """Take in every class of an image with all its parts, also what no record names."""
        classes: dict[str, list[str]] = {}
        native = {item.id: item.category for item in record.objects}
        for item in record.objects:
            classes.setdefault(self._names.category(item.category), []).append(item.id)
        parts: dict[tuple[str, str], set[str]] = {}
        for part in record.parts:
            category = native[part.object_id]
            name = self._names.category(category), self._names.part(category, part.name)
            parts.setdefault(name, set()).add(self._part_id(part))
        for category, ids in classes.items():
            number = self._book.add((self._source, record.image_id, category, tuple(sorted(ids))))
            self._book.entities[number].parts_told = True
            told = {name for name, _ in self._book.entities[number].parts}
            for (owner, part_name), own in parts.items():
                if owner == category and part_name not in told:
                    self._book.add_part(number, part_name, tuple(sorted(own)))

    def resolve(self, record: ImageRecord) -> Iterator[ResolvedMask | Reject]:
        """Yield the entities of an image that have a mask, and a reject for every id that fails."""
        for number in self._book.of_image.get((self._source, record.image_id), ()):
            entity = self._book.entities[number]
            rejects: list[Reject] = []
            mask = self._object(record, entity, rejects)
            parts = {}
            if mask is not None and record.parts_known:
                for (name, ids), place in entity.parts.items():
                    part = self._part(record, entity, name, ids, rejects)
                    if part is not None:
                        parts[place] = part
            yield from rejects
            if mask is not None:
                yield ResolvedMask(number, mask, parts)

    def _object(
        self, record: ImageRecord, entity: BundleEntity, rejects: list[Reject]
    ) -> Rle | None:
        there = {item.id: item for item in record.objects}
        found = []
        _, image, category, ids = entity.key
        for object_id in ids:
            item = there.get(object_id)
            if item is None:
                detail = f"image {image} has no object of this id"
                self._missing(Level.OBJECT, object_id, Reason.UNKNOWN_ANNOTATION, detail, rejects)
            elif not self._agrees(category, item.category):
                detail = f"a {item.category}, the record says {category}"
                self._missing(Level.OBJECT, object_id, Reason.CLASS_MISMATCH, detail, rejects)
            else:
                found.append(item.mask)
        return masks.union(found) if found else None

    def _part(
        self, record: ImageRecord, entity: BundleEntity, name: str, ids: Ids, rejects: list[Reject]
    ) -> Rle | None:
        _, image, category, objects = entity.key
        if self._source == "ade20k":  # ids are values of the part map; an absent one adds nothing
            found = [p.mask for p in record.parts
                     if p.object_id in objects and self._part_id(p) in ids]  # fmt: skip
            if not found:
                detail = (
                    f"no pixel of {name} (values {', '.join(ids)}) in the {category} of {image}"
                )
                rejects.append(
                    self._reject(Level.PART, ",".join(ids), Reason.UNKNOWN_ANNOTATION, detail)
                )
            return masks.union(found) if found else None
        there = {part.id: part for part in record.parts}
        found = []
        for part_id in ids:
            part = there.get(part_id)
            if part is None:
                detail = f"image {image} has no part of this id"
                self._missing(Level.PART, part_id, Reason.UNKNOWN_ANNOTATION, detail, rejects)
            elif not self._names_part(record, name, part):
                detail = f"a {part.name}, the record says {name}"
                self._missing(Level.PART, part_id, Reason.PART_CLASS_MISMATCH, detail, rejects)
            else:
                found.append(part.mask)
        return masks.union(found) if found else None

    def _missing(
        self, level: Level, record_id: str, reason: Reason, detail: str, rejects: list[Reject]
    ) -> None:
        if record_id not in self.refused:
            self.refused.add(record_id)
            rejects.append(self._reject(level, record_id, reason, detail))

    def _reject(self, level: Level, record_id: str, reason: Reason, detail: str) -> Reject:
        return Reject(self._source, self._split, self._file, record_id, level, reason, detail)

    def _agrees(self, stated: str, native: str) -> bool:
        """Tell whether a class goes by this name, as upstream, as the bundle, or as we call it."""
        return stated in (plain(native.split("_(")[0]), plain(native), self._names.category(native))

    def _names_part(self, record: ImageRecord, stated: str, part: PartInstance) -> bool:
        owner = next(item.category for item in record.objects if item.id == part.object_id)
        own = plain(part.name)
        return stated in (own, self._names.part(owner, part.name)) or own.endswith(f" {stated}")

    def _part_id(self, part: PartInstance) -> str:
        """Return the id that records use: for ADE the value in the part map."""
        return part.id.rpartition(":")[2] if self._source == "ade20k" else part.id
