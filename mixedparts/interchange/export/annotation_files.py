"""Annotation files of a published bundle, a writer a source, fed with the entities of a build.

Every writer numbers the masks it is given; records refer to those numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mixedparts.interchange.export.rows import Row
from mixedparts.interchange.export.spool import Spool, write_document
from mixedparts.sources.manifest_types import Manifest, ObjectClass

ImageId = int | str
Ids = tuple[ImageId, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """An entity under the ids that an annotation file gives it.

    Attributes:
        image: id of its image in the file.
        objects: annotation ids whose union is the entity.
        parts: part name -> annotation ids (ADE: values in the part map).
        digests: digest of the mask by part name; that of the object under the empty name.
    """

    image: ImageId
    objects: Ids
    parts: dict[str, Ids]
    digests: dict[str, bytes]


class AnnotationWriter(Protocol):
    """Writes the entities of one source and file."""

    def add(self, entity: Row) -> Named | None:
        """Take an entity; None where the format has no category for it."""
        ...

    def close(self) -> None:
        """Write the file."""
        ...

    def notes(self) -> list[str]:
        """Return what could not be kept, in sentences."""
        ...


def digest(counts: str) -> bytes:
    """Return a short digest of a run-length text."""
    return hashlib.blake2b(counts.encode(), digest_size=8).digest()


def digests_of(entity: Row) -> dict[str, bytes]:
    """Return the digests of an entity's masks, see `Named`."""
    found = {part["name"]: digest(part["mask"]["counts"]) for part in entity["parts"]}
    return {**found, "": digest(entity["mask"]["counts"])}


class CocoFile:
    """Images and annotations of one COCO-style file on their way to disk."""

    def __init__(self, target: Path, work: Path) -> None:
        self._target = target
        self._annotations = Spool(work / f"{target.stem}-{target.parent.name}-annotations")
        self._images: dict[str, dict[str, Any]] = {}

    def image(self, entity: Row, number: ImageId) -> ImageId:
        """Return the id of an entity's image, listing it under `number` if it is new."""
        known = self._images.get(entity["image_id"])
        if known is None:
            sizes = {name: entity[name] for name in ("file_name", "width", "height")}
            known = self._images[entity["image_id"]] = {"id": number, **sizes, "splits": []}
        if entity["split"] not in known["splits"]:  # ADE: one file serves validation and test
            known["splits"].append(entity["split"])
        found: ImageId = known["id"]
        return found

    @property
    def images(self) -> int:
        """How many images are listed."""
        return len(self._images)

    @property
    def annotations(self) -> int:
        """How many annotations are listed."""
        return self._annotations.items

    def annotate(
        self, number: int, image: ImageId, category: int, region: Row, **more: Any
    ) -> None:
        """List an annotation."""
        keys = {"segmentation": region["mask"], "bbox": region["bbox"], "area": region["area"]}
        ids = {"id": number, "image_id": image, "category_id": category}
        self._annotations.add({**ids, **keys, "iscrowd": 0, **more})

    def close(self, categories: list[dict[str, Any]]) -> None:
        """Write the file."""
        with self._annotations:
            lists = {"images": list(self._images.values()), "annotations": self._annotations}
            write_document(self._target, {**lists, "categories": categories})


class PacoWriter:
    """Writes a file in the form of `paco_lvis_v1_{split}.json` with the masks of the build."""

    def __init__(self, target: Path, work: Path, manifest: Manifest) -> None:
        self._file = CocoFile(target, work)
        self._manifest = manifest

    def add(self, entity: Row) -> Named | None:
        """Take an entity: one object annotation and one a part, linked by `obj_ann_id`."""
        known = class_of(self._manifest, entity)
        if known is None:
            return None
        text = entity["image_id"]
        image = self._file.image(entity, int(text) if text.isdecimal() else text)
        own = self._file.annotations + 1
        self._file.annotate(own, image, known.id, entity, obj_ann_id=own, attribute_ids=[])
        parts: dict[str, Ids] = {}
        for part in entity["parts"]:
            number = self._file.annotations + 1
            category = part_ids(known, part["name"])[0]
            self._file.annotate(number, image, category, part, obj_ann_id=own, attribute_ids=[])
            parts[part["name"]] = (number,)
        return Named(image, (own,), parts, digests_of(entity))

    def close(self) -> None:
        """Write the file, with all categories that PACO has."""
        self._file.close(list(self._categories()))

    def _categories(self) -> Iterator[dict[str, Any]]:
        for item in self._manifest.objects.values():
            yield {"id": item.id, "name": item.key, "supercategory": "OBJECT"}
        for item in self._manifest.objects.values():
            for part in item.parts:
                name = f"{item.key}:{part.native}"
                yield {"id": part.id, "name": name, "supercategory": "PART"}

    def notes(self) -> list[str]:
        """Return nothing: everything is kept."""
        return []


class PartImageNetWriter:
    """Writes the two files of PartImageNet: objects under `{m}_whole`, and their parts.

    As in the published bundle an image has one object, whose annotation id is the image's.
    """

    def __init__(self, objects: Path, parts: Path, work: Path, manifest: Manifest) -> None:
        self._objects = CocoFile(objects, work)
        self._parts = CocoFile(parts, work)
        self._manifest = manifest
        self._classes: dict[str, int] = {}
        self._kinds: dict[tuple[str, str], int] = {}
        self._taken: set[int] = set()

    def add(self, entity: Row) -> Named | None:
        """Take an entity; any class has a place here, since the file lists its own."""
        image = self._objects.image(entity, self._objects.images + 1)
        assert isinstance(image, int)
        self._parts.image(entity, image)
        own = image
        while own in self._taken:  # a second class in one image
            own += 1 << 30
        self._taken.add(own)
        category = self._classes.setdefault(entity["category"], len(self._classes))
        self._objects.annotate(own, image, category, entity)
        classes = self._manifest.by_name.get(entity["category"], ())
        superclass = classes[0].superclass.lower() if classes else entity["category"]
        parts: dict[str, Ids] = {}
        for part in entity["parts"]:
            number = self._parts.annotations + 1
            kind = self._kind(superclass, part["name"])
            self._parts.annotate(number, image, kind, part)
            parts[part["name"]] = (number,)
        return Named(image, (own,), parts, digests_of(entity))

    def _kind(self, superclass: str, name: str) -> int:
        """Return upstream's id of a part category, or one beyond those."""
        key = superclass, name
        if key not in self._kinds:
            upstream = [
                part.id
                for item in self._manifest.objects.values()
                if item.superclass.lower() == superclass
                for part in item.parts
                if part.name == name
            ]
            self._kinds[key] = upstream[0] if upstream else 1_000 + len(self._kinds)
        return self._kinds[key]

    def close(self) -> None:
        """Write both files."""
        classes = [{"id": n, "name": name, "supercategory": ""}
                   for name, n in self._classes.items()]  # fmt: skip
        kinds = [
            {"id": number, "name": name, "supercategory": superclass}
            for (superclass, name), number in sorted(self._kinds.items(), key=lambda item: item[1])
        ]
        self._objects.close(classes)
        self._parts.close(kinds)

    def notes(self) -> list[str]:
        """Return nothing: everything is kept."""
        return []


def class_of(manifest: Manifest, entity: Row) -> ObjectClass | None:
    """Return the upstream class of an entity, one that has all its parts; None where none has."""
    wanted = {part["name"] for part in entity["parts"]}
    for item in manifest.by_name.get(entity["category"], ()):
        if wanted <= {part.name for part in item.parts}:
            return item
    return None


def part_ids(known: ObjectClass, name: str) -> tuple[int, ...]:
    """Return upstream's ids of a class's part; two native names can share a canonical one."""
    return tuple(part.id for part in known.parts if part.name == name)
