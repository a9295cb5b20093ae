"""Image records to entities: one object class in one image, under canonical names.

An entity's mask is the union of that class's instance masks. Each of its parts is the union of
that class's masks of one normalised part name. The data loaders of MixedParts (CALICO,
arXiv 2412.19331) unite masks by class in the same way. Small entities and parts are dropped here
and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter

import msgspec

from mixedparts import masks
from mixedparts.masks import Rle
from mixedparts.records import ImageRecord
from mixedparts.sources.manifests import Manifest


class NamedMask(msgspec.Struct, frozen=True, gc=False):
    """A named mask with its pixel count and its tight box (x, y, w, h) in pixels of the image."""

    name: str
    mask: Rle
    area: int
    bbox: tuple[float, float, float, float]


class Entity(msgspec.Struct, frozen=True, gc=False):
    """One object class in one image.

    Attributes:
        region: canonical name of the class, and the union of its masks.
        parts: visible parts in the order of their names.
        parts_known: False where the source does not annotate the parts of this image.
    """

    region: NamedMask
    parts: tuple[NamedMask, ...]
    parts_known: bool


@dataclass(frozen=True, slots=True)
class Filters:
    """What counts as an entity or a visible part.

    Attributes:
        min_object_area: least share of the image's area that an entity covers, in [0, 1].
        min_part_area: least share of the image's area that a part covers, in [0, 1].
        classes: canonical names to include, all of them if empty; others are not counted as
            dropped.
    """

    min_object_area: float = 0.02
    min_part_area: float = 0.001
    classes: frozenset[str] = frozenset()


@dataclass(slots=True)
class FilterCounts:
    """How many entities, and how many parts of the remaining entities, were dropped."""

    objects: int = 0
    parts: int = 0


class Names:
    """Canonical names of a source's classes and parts.

    Args:
        manifest: of the source. Without one, names are the native names in lower case with spaces
            for underscores.
    """

    def __init__(self, manifest: Manifest | None) -> None:
        self._objects: dict[str, str] = {}
        self._parts: dict[tuple[str, str], str] = {}
        self._left_out = manifest.left_out if manifest else frozenset()
        for key, category in (manifest.objects if manifest else {}).items():
            self._objects[key] = category.name
            for part in category.parts:
                self._parts[key, part.native] = part.name

    def category(self, key: str) -> str:
        """Return the canonical name of a class, given its native key."""
        return self._objects.get(key) or plain(key)

    def leaves_out(self, key: str) -> bool:
        """Return whether the manifest's profile leaves out a class."""
        return key in self._left_out

    def part(self, key: str, native: str) -> str:
        """Return the normalised name of a class's part, given their native names."""
        return self._parts.get((key, native)) or plain(native)


def plain(native: str) -> str:
    """Return a native name in lower case with spaces for underscores."""
    return " ".join(native.replace("_", " ").lower().split())


def entities_of(
    record: ImageRecord, names: Names, filters: Filters, dropped: FilterCounts
) -> list[Entity]:
    """Unite the masks of one image by class and part name, and apply the profile and the filters.

    Args:
        record: the annotations of the image, under native names.
        names: canonical names of the source.
        filters: which classes to include, and the least areas.
        dropped: counters; what the profile or the areas exclude is added to them.

    Returns:
        The remaining entities in the order of their names.
    """
    return entities_of_images([record], names, filters, dropped)[0]


def entities_of_images(
    records: Sequence[ImageRecord], names: Names, filters: Filters, dropped: FilterCounts
) -> list[list[Entity]]:
    """Do for many images what `entities_of` does for one.

    One call costs less than many: each call into the mask library has a fixed cost.

    Args:
        records: the annotations of some images, under native names.
        names: canonical names of the source.
        filters: which classes to include, and the least areas.
        dropped: counters; what the profile or the areas exclude is added to them.

    Returns:
        For each image the remaining entities in the order of their names.
    """
    objects = [_objects(record, names, filters, dropped) for record in records]
    regions = iter(_regions([group for of_image in objects for group in of_image.items()]))
    kept: list[list[NamedMask]] = []
    for record, of_image in zip(records, objects, strict=True):
        least = filters.min_object_area
        pixels = record.width * record.height
        large = [item for item in islice(regions, len(of_image)) if item.area / pixels >= least]
        dropped.objects += len(of_image) - len(large)
        kept.append(sorted(large, key=_name))
    parts = [_parts(record, large, names) for record, large in zip(records, kept, strict=True)]
    regions = iter(_regions([group for of in parts for groups in of for group in groups.items()]))
    entities: list[list[Entity]] = []
    for record, large, of_record in zip(records, kept, parts, strict=True):
        pixels = record.width * record.height
        entities.append([])
        for region, groups in zip(large, of_record, strict=True):
            # An empty mask is no visible part, even if the least area is 0.
            visible = [
                part
                for part in islice(regions, len(groups))
                if part.area and part.area / pixels >= filters.min_part_area
            ]
            dropped.parts += len(groups) - len(visible)
            visible.sort(key=_name)
            entities[-1].append(Entity(region, tuple(visible), record.parts_known))
    return entities


_name = attrgetter("name")
_Masks = dict[str, list[Rle]]
_NOTHING: tuple[str, _Masks | None] = ("", None)


def _objects(record: ImageRecord, names: Names, filters: Filters, dropped: FilterCounts) -> _Masks:
    """Return the masks of each class of an image that is included, under its canonical name."""
    objects: _Masks = {}
    left_out: set[str] = set()
    for instance in record.objects:
        if names.leaves_out(instance.category):
            left_out.add(instance.category)
            continue
        # Several native classes can have one canonical name: they become one entity.
        name = names.category(instance.category)
        if not filters.classes or name in filters.classes:
            objects.setdefault(name, []).append(instance.mask)
    dropped.objects += len(left_out)
    return objects


def _parts(record: ImageRecord, kept: Sequence[NamedMask], names: Names) -> list[_Masks]:
    """Return the masks of each part of the entities of an image, under its normalised name."""
    parts: dict[str, _Masks] = {region.name: {} for region in kept}
    if parts:
        owners: dict[str, tuple[str, _Masks | None]] = {}
        for instance in record.objects:
            key = instance.category
            if not names.leaves_out(key):
                owners[instance.id] = key, parts.get(names.category(key)) if key else None
        for part in record.parts:
            key, groups = owners.get(part.object_id, _NOTHING)
            if groups is not None:
                groups.setdefault(names.part(key, part.name), []).append(part.mask)
    return list(parts.values())


def _regions(groups: Sequence[tuple[str, list[Rle]]]) -> list[NamedMask]:
    """Return the union of each group of masks under its name."""
    united = masks.unions([members for _, members in groups])
    measured = zip(groups, united, masks.measure(united), strict=True)
    return [NamedMask(name, mask, area, bbox) for (name, _), mask, (area, bbox) in measured]
