"""PartImageNet's files of a bundle: objects in one COCO file, their parts in another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mixedparts.interchange.export.annotation_files import (
    AnnotatedEntity,
    CocoFile,
    Ids,
    digests_of,
)
from mixedparts.interchange.export.rows import Row
from mixedparts.sources.manifest_types import Manifest


@dataclass(frozen=True, slots=True)
class PartImageNetCategories:
    """Category ids of PartImageNet's two files, the same in every split.

    Attributes:
        classes: object class -> id.
        kinds: (superclass, part name) -> id, in the order of the ids. A part category of
            PartImageNet is a part of a superclass, such as "Quadruped Head".
        superclasses: object class -> superclass.
    """

    classes: dict[str, int]
    kinds: dict[tuple[str, str], int]
    superclasses: dict[str, str]

    def part(self, category: str, name: str) -> int:
        """Return the id of a part of an object class."""
        return self.kinds[self.superclasses[category], name]


def part_image_net_categories(
    manifest: Manifest, terms: Iterable[tuple[str, str]]
) -> PartImageNetCategories:
    """Return the categories of a build.

    Args:
        manifest: PartImageNet's manifest, under the build's profile.
        terms: (class, part) of every class and part of the build, sorted, part empty for a class.

    Returns:
        The ids: of parts those of upstream, and from 1000 on for names that upstream does not have.
    """
    upstream: dict[tuple[str, str], int] = {}
    for item in manifest.objects.values():
        for part in item.parts:
            upstream.setdefault((item.superclass.lower(), part.name), part.id)
    classes: dict[str, int] = {}
    superclasses: dict[str, str] = {}
    kinds: set[tuple[str, str]] = set()
    for category, part_name in terms:
        # An imported build can have a class that the manifest does not know.
        known = manifest.by_name.get(category, ())
        superclasses[category] = known[0].superclass.lower() if known else category
        classes.setdefault(category, len(classes))
        if part_name:
            kinds.add((superclasses[category], part_name))
    new = sorted(kinds - upstream.keys())
    numbers = {kind: upstream[kind] for kind in kinds & upstream.keys()}
    numbers |= {kind: number for number, kind in enumerate(new, 1_000)}
    ordered = dict(sorted(numbers.items(), key=lambda item: item[1]))
    return PartImageNetCategories(classes, ordered, superclasses)


class PartImageNetWriter:
    """Writes the two files of PartImageNet: objects under `{m}_whole`, and their parts.

    As in the authors' bundle, the annotation id of an image's object is the image id. Both files
    list the classes and parts of all splits.

    Args:
        objects: path of the object file to write.
        parts: path of the part file to write.
        work: folder of working files.
        categories: ids of the classes and of the parts, see `part_image_net_categories`.
    """

    def __init__(
        self, objects: Path, parts: Path, work: Path, categories: PartImageNetCategories
    ) -> None:
        self._objects = CocoFile(objects, work)
        self._parts = CocoFile(parts, work)
        self._categories = categories

    def add(self, entity: Row, number: int) -> AnnotatedEntity | None:
        """Add an entity of any class: the object file lists the classes of the build."""
        # The first entity of an image gives it its id. A second class in the image then has another
        # annotation id than the image.
        image = self._objects.add_image(entity, number)
        self._parts.add_image(entity, image)
        category = self._categories.classes[entity["category"]]
        self._objects.annotate(number, image, category, entity)
        parts: dict[str, Ids] = {}
        for part_number, part in enumerate(entity["parts"], number + 1):
            kind = self._categories.part(entity["category"], part["name"])
            self._parts.annotate(part_number, image, kind, part)
            parts[part["name"]] = (part_number,)
        return AnnotatedEntity(image, (number,), parts, digests_of(entity))

    def close(self) -> None:
        """Write both files."""
        classes = [{"id": n, "name": name, "supercategory": ""}
                   for name, n in self._categories.classes.items()]  # fmt: skip
        kinds = [
            {"id": number, "name": name, "supercategory": group}
            for (group, name), number in self._categories.kinds.items()
        ]
        self._objects.close(classes)
        self._parts.close(kinds)

    def notes(self) -> list[str]:
        """Return no notes: the file represents every entity."""
        return []
