"""Annotation files of a bundle, written from the entities of a build by one writer a source.

Every writer gives each mask an annotation id of its own file; the records refer to these ids.
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
class AnnotatedEntity:
    """The ids that an annotation file gives an entity.

    Attributes:
        image: id of its image in the file.
        objects: annotation ids whose union is the entity.
        parts: part name -> annotation ids (ADE20K: values of the part segmentation map).
        digests: part name -> digest of the mask; the empty name is the object.
    """

    image: ImageId
    objects: Ids
    parts: dict[str, Ids]
    digests: dict[str, bytes]


class AnnotationWriter(Protocol):
    """Writes the entities of one source to its annotation files."""

    def add(self, entity: Row, number: int) -> AnnotatedEntity | None:
        """Add a row of `entities`, and return its ids; None if the format has no category for it.

        Args:
            entity: the row.
            number: annotation id of the object, unique in the dataset; its parts have the next
                ones. Files of several splits can then be joined.

        Returns:
            The ids.

        Raises:
            InputError: the writer refers to a file of upstream, and that file has another mask.
        """
        ...

    def close(self) -> None:
        """Write the files; no entity can be added afterwards."""
        ...

    def notes(self) -> list[str]:
        """Return a sentence for each kind of value that the format cannot represent."""
        ...


def digest(counts: str) -> bytes:
    """Return the 8-byte digest of a COCO run-length text."""
    return hashlib.blake2b(counts.encode(), digest_size=8).digest()


def digests_of(entity: Row) -> dict[str, bytes]:
    """Return the digests of an entity's masks, as `AnnotatedEntity.digests` holds them."""
    of_parts = {part["name"]: digest(part["mask"]["counts"]) for part in entity["parts"]}
    return {**of_parts, "": digest(entity["mask"]["counts"])}


class CocoFile:
    """Images and annotations of one COCO file; annotations are in a working file until the end.

    Args:
        target: path of the file to write.
        work: folder of working files.
    """

    def __init__(self, target: Path, work: Path) -> None:
        # Images stay in memory, since each is looked up for every entity; annotations do not, since
        # their masks take far more memory.
        self._target = target
        self._annotations = Spool(work / f"{target.stem}-{target.parent.name}-annotations")
        self._images: dict[str, dict[str, Any]] = {}

    def add_image(self, entity: Row, number: ImageId) -> ImageId:
        """Return the id of an entity's image, which is added with the id `number` if it is new."""
        image = self._images.get(entity["image_id"])
        if image is None:
            sizes = {name: entity[name] for name in ("file_name", "width", "height")}
            image = self._images[entity["image_id"]] = {"id": number, **sizes, "splits": []}
        # ADE20K: one file serves validation and test, and an import must tell them apart.
        if entity["split"] not in image["splits"]:
            image["splits"].append(entity["split"])
        image_id: ImageId = image["id"]
        return image_id

    def annotate(
        self, number: int, image: ImageId, category: int, region: Row, **more: Any
    ) -> None:
        """Add an annotation.

        Args:
            number: id of the annotation.
            image: id of its image.
            category: id of its category.
            region: a row or struct with `mask`, `bbox` and `area`.
            **more: further keys of the annotation.
        """
        keys = {"segmentation": region["mask"], "bbox": region["bbox"], "area": region["area"]}
        ids = {"id": number, "image_id": image, "category_id": category}
        self._annotations.add({**ids, **keys, "iscrowd": 0, **more})

    def close(self, categories: list[dict[str, Any]]) -> None:
        """Write the file with a list of categories."""
        with self._annotations:
            lists = {"images": list(self._images.values()), "annotations": self._annotations}
            write_document(self._target, {**lists, "categories": categories})


class PacoWriter:
    """Writes a file in the form of `paco_lvis_v1_{split}.json` with the masks of the build.

    Args:
        target: path of the file to write.
        work: folder of working files.
        manifest: PACO's manifest, under the build's profile.
    """

    def __init__(self, target: Path, work: Path, manifest: Manifest) -> None:
        self._file = CocoFile(target, work)
        self._manifest = manifest

    def add(self, entity: Row, number: int) -> AnnotatedEntity | None:
        """Add one object annotation and one for each part, linked by `obj_ann_id`."""
        upstream = class_of(self._manifest, entity)
        if upstream is None:
            return None
        text = entity["image_id"]
        image = self._file.add_image(entity, int(text) if text.isdecimal() else text)
        # An object annotation is its own object, as upstream writes it.
        links = {"obj_ann_id": number, "attribute_ids": list[int]()}
        self._file.annotate(number, image, upstream.id, entity, **links)
        parts: dict[str, Ids] = {}
        for part_number, part in enumerate(entity["parts"], number + 1):
            # The part is the union of all native parts of its name; the first one names it.
            category = part_ids(upstream, part["name"])[0]
            self._file.annotate(part_number, image, category, part, **links)
            parts[part["name"]] = (part_number,)
        return AnnotatedEntity(image, (number,), parts, digests_of(entity))

    def close(self) -> None:
        """Write the file with all categories of PACO."""
        self._file.close(list(self._categories()))

    def _categories(self) -> Iterator[dict[str, Any]]:
        for item in self._manifest.objects.values():
            yield {"id": item.id, "name": item.key, "supercategory": "OBJECT"}
        for item in self._manifest.objects.values():
            for part in item.parts:
                name = f"{item.key}:{part.native}"
                yield {"id": part.id, "name": name, "supercategory": "PART"}

    def notes(self) -> list[str]:
        """Return no notes: the file represents every entity."""
        return []


def class_of(manifest: Manifest, entity: Row) -> ObjectClass | None:
    """Return an upstream class of the entity's name that has all its parts; None if none does."""
    # Several upstream classes can share a canonical name, with different lists of parts.
    wanted = {part["name"] for part in entity["parts"]}
    for item in manifest.by_name.get(entity["category"], ()):
        if wanted <= {part.name for part in item.parts}:
            return item
    return None


def part_ids(upstream: ObjectClass, name: str) -> tuple[int, ...]:
    """Return upstream's ids of a class's part; two native names can share a canonical one."""
    return tuple(part.id for part in upstream.parts if part.name == name)
