"""Entities that a bundle's records name, and their masks.

A record names an entity by its class, its image and annotation ids, and lists some of its parts.
The union of what all records list is the entity. In a consistent bundle, the common and unique
parts of every pair follow from its two entities; `agreement` decides where records differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from mixedparts import masks
from mixedparts.entities.normalise import Names, plain
from mixedparts.interchange.bundle_import.contract import Ids, RecordEntry, RecordSide
from mixedparts.masks import Rle
from mixedparts.records import ImageRecord, Level, PartInstance, Reason, Reject

Key = tuple[str, str, str, Ids]  # source, upstream image id, class, ids of its objects


@dataclass(slots=True)
class BundleEntity:
    """One class in one image, under the annotation ids that a record gives it.

    Attributes:
        key: what identifies the entity.
        parts: (name, ids) -> number of the part in the book. Two records may give one name
            different ids.
        file_parts: numbers of the parts that the annotation files give it, in a bundle that was
            exported from a build; None in other bundles.
    """

    key: Key
    parts: dict[tuple[str, Ids], int] = field(default_factory=dict)
    file_parts: tuple[int, ...] | None = None


class AnnotationBook:
    """All entities of one split, numbered in the order in which they are first named.

    Attributes:
        entities: the entities, by number.
        numbers: key -> number.
        of_image: (source, upstream image id) -> numbers of the image's entities.
        part_count: how many parts all entities have; parts are numbered across entities.
    """

    def __init__(self) -> None:
        self.entities: list[BundleEntity] = []
        self.numbers: dict[Key, int] = {}
        self.of_image: dict[tuple[str, str], list[int]] = {}
        self.part_count = 0

    def add_entry(self, entry: RecordEntry) -> None:
        """Add the two entities of a record entry and the parts that it lists."""
        for side in entry.sides:
            number = self.add(key_of(entry.source, side))
            for name, ids in (*side.common.items(), *side.unique.items()):
                self.add_part(number, name, ids)

    def add(self, key: Key) -> int:
        """Return the number of an entity, which is added if it is new."""
        # The order of numbers is that of the records, which makes an import repeatable.
        number = self.numbers.get(key)
        if number is None:
            number = self.numbers[key] = len(self.entities)
            self.entities.append(BundleEntity(key))
            self.of_image.setdefault(key[:2], []).append(number)
        return number

    def add_part(self, entity: int, name: str, ids: Ids) -> int:
        """Return the number of an entity's part, which is added if it is new.

        Args:
            entity: number of the entity.
            name: name of the part.
            ids: its annotation ids, or for ADE20K the values of the part segmentation map.

        Returns:
            The number of the part.
        """
        parts = self.entities[entity].parts
        if (name, ids) not in parts:
            parts[name, ids] = self.part_count
            self.part_count += 1
        return parts[name, ids]

    def images(self, source: str) -> set[str]:
        """Return the upstream ids of a source's images that some record names."""
        return {image for owner, image in self.of_image if owner == source}


def key_of(source: str, side: RecordSide) -> Key:
    """Return the key that identifies the entity on one side of a record."""
    return source, side.image, side.category, side.objects


@dataclass(frozen=True, slots=True)
class ResolvedMask:
    """An entity with its masks on the stored pixel grid of its image.

    Attributes:
        number: number of the entity in the book.
        mask: union of the masks of its objects.
        parts: number of a part -> union of the masks of its annotations.
    """

    number: int
    mask: Rle
    parts: dict[int, Rle]


class Resolver:
    """Finds the masks of one source's entities.

    Args:
        book: the entities that records name.
        source: the source whose images are resolved.
        split: the split, for rejects.
        file: name of the source's annotation file, for rejects.
        names: canonical names of the source's classes and parts.

    Attributes:
        refused: ids of annotations that are rejected already. Each id is rejected once, by the
            reader or here, however many records name it.
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

    def add_image(self, record: ImageRecord, min_part_area: float) -> None:
        """Add every class of an image with its parts to the book, named by a record or not.

        Args:
            record: the image.
            min_part_area: least share of the image that a part covers, in [0, 1].
        """
        classes: dict[str, list[str]] = {}
        native = {item.id: item.category for item in record.objects}
        for item in record.objects:
            classes.setdefault(self._names.category(item.category), []).append(item.id)
        parts: dict[tuple[str, str], list[PartInstance]] = {}
        for part in record.parts:
            category = native[part.object_id]
            name = self._names.category(category), self._names.part(category, part.name)
            parts.setdefault(name, []).append(part)
        pixels = record.width * record.height
        # As in a build: the area is that of the union of all parts of one name.
        visible = {
            name: tuple(sorted({self._part_id(part) for part in pieces}))
            for name, pieces in parts.items()
            if masks.area(masks.union([p.mask for p in pieces])) / pixels >= min_part_area
        }
        for category, ids in classes.items():
            # Sorted ids, as in the records: a class that a record names gets no second entity.
            number = self._book.add((self._source, record.image_id, category, tuple(sorted(ids))))
            self._book.entities[number].file_parts = tuple(
                self._book.add_part(number, part_name, part_ids)
                for (owner, part_name), part_ids in visible.items()
                if owner == category
            )

    def resolve(self, record: ImageRecord) -> Iterator[ResolvedMask | Reject]:
        """Yield the image's entities that have a mask, and a reject for every unusable id."""
        for number in self._book.of_image.get((self._source, record.image_id), ()):
            entity = self._book.entities[number]
            rejects: list[Reject] = []
            mask = self._object(record, entity, rejects)
            parts = {}
            # Without a mask of the object, its parts are of no use and get no rejects of their own.
            if mask is not None and record.parts_known:
                for (name, ids), part_number in entity.parts.items():
                    part = self._part(record, entity, name, ids, rejects)
                    if part is not None:
                        parts[part_number] = part
            yield from rejects
            if mask is not None:
                yield ResolvedMask(number, mask, parts)

    def _object(
        self, record: ImageRecord, entity: BundleEntity, rejects: list[Reject]
    ) -> Rle | None:
        """Return the union of an entity's objects, None if none is usable; append the rejects."""
        by_id = {item.id: item for item in record.objects}
        instances = []
        _, image, category, ids = entity.key
        for object_id in ids:
            item = by_id.get(object_id)
            if item is None:
                detail = f"image {image} has no object of this id"
                self._missing(Level.OBJECT, object_id, Reason.UNKNOWN_ANNOTATION, detail, rejects)
            elif not self._agrees(category, item.category):
                detail = f"a {item.category}, the record says {category}"
                self._missing(Level.OBJECT, object_id, Reason.CLASS_MISMATCH, detail, rejects)
            else:
                instances.append(item.mask)
        return masks.union(instances) if instances else None

    def _part(
        self, record: ImageRecord, entity: BundleEntity, name: str, ids: Ids, rejects: list[Reject]
    ) -> Rle | None:
        """Return the union of a part's annotations, None if none is usable; append the rejects."""
        _, image, category, objects = entity.key
        # ADE20K: the ids are values of the part segmentation map. Two native parts can share one
        # canonical name, and an object rarely shows both, so a value without pixels is no fault.
        if self._source == "ade20k":
            pieces = [p.mask for p in record.parts
                      if p.object_id in objects and self._part_id(p) in ids]  # fmt: skip
            if not pieces:
                detail = (
                    f"no pixel of {name} (values {', '.join(ids)}) in the {category} of {image}"
                )
                rejects.append(
                    self._reject(Level.PART, ",".join(ids), Reason.UNKNOWN_ANNOTATION, detail)
                )
            return masks.union(pieces) if pieces else None
        by_id = {part.id: part for part in record.parts}
        pieces = []
        for part_id in ids:
            part = by_id.get(part_id)
            if part is None:
                detail = f"image {image} has no part of this id"
                self._missing(Level.PART, part_id, Reason.UNKNOWN_ANNOTATION, detail, rejects)
            elif not self._names_part(record, name, part):
                detail = f"a {part.name}, the record says {name}"
                self._missing(Level.PART, part_id, Reason.PART_CLASS_MISMATCH, detail, rejects)
            else:
                pieces.append(part.mask)
        return masks.union(pieces) if pieces else None

    def _missing(
        self, level: Level, record_id: str, reason: Reason, detail: str, rejects: list[Reject]
    ) -> None:
        """Append a reject for an annotation id, unless it has one already."""
        if record_id not in self.refused:
            self.refused.add(record_id)
            rejects.append(self._reject(level, record_id, reason, detail))

    def _reject(self, level: Level, record_id: str, reason: Reason, detail: str) -> Reject:
        return Reject(self._source, self._split, self._file, record_id, level, reason, detail)

    def _agrees(self, recorded: str, native: str) -> bool:
        """Return whether a record's class name is the native or the canonical name of a class.

        PACO's native names carry a sense, `mouse_(computer_equipment)`, that a record may leave
        out.
        """
        names = plain(native.split("_(")[0]), plain(native), self._names.category(native)
        return recorded in names

    def _names_part(self, record: ImageRecord, recorded: str, part: PartInstance) -> bool:
        """Return whether a record's part name is the native or the canonical name of a part."""
        owner = next(item.category for item in record.objects if item.id == part.object_id)
        native = plain(part.name)
        canonical = self._names.part(owner, part.name)
        # A native name may start with its object class, as PartImageNet's "Quadruped Head".
        return recorded in (native, canonical) or native.endswith(f" {recorded}")

    def _part_id(self, part: PartInstance) -> str:
        """Return the id that records use: for ADE20K the value in the segmentation map."""
        # An ADE20K part of a build has the id `object:value`.
        return part.id.rpartition(":")[2] if self._source == "ade20k" else part.id
