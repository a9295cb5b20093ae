"""Image records to entities: one object class in one image, under canonical names.

An entity's mask is the union of that class's instance masks. Each of its parts is the union of
that class's masks of one normalised part name. The data loaders of MixedParts (CALICO,
arXiv 2412.19331) unite masks by class in the same way. Small entities and parts are dropped here
and counted.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from mixedparts import masks
from mixedparts.masks import Rle
from mixedparts.records import ImageRecord
from mixedparts.sources.manifests import Manifest


@dataclass(frozen=True, slots=True)
class NamedMask:
    """A named mask with its pixel count and its tight box (x, y, w, h) in pixels of the image."""

    name: str
    mask: Rle
    area: int
    bbox: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Entity:
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
    """Unite a record's masks by class and part name, and apply the profile and the filters.

    Args:
        record: the annotations of one image, under native names.
        names: canonical names of the source.
        filters: which classes to include, and the least areas.
        dropped: counters; what the profile or the areas exclude is added to them.

    Returns:
        The remaining entities in the order of their names.
    """
    objects: dict[str, list[Rle]] = defaultdict(list)
    parts: dict[str, dict[str, list[Rle]]] = defaultdict(lambda: defaultdict(list))
    # Several native classes can have one canonical name: they become one entity.
    used = [item for item in record.objects if not names.leaves_out(item.category)]
    dropped.objects += len({i.category for i in record.objects} - {i.category for i in used})
    keys = {instance.id: instance.category for instance in used}
    for instance in used:
        name = names.category(instance.category)
        if not filters.classes or name in filters.classes:
            objects[name].append(instance.mask)
    for part in record.parts:
        if (key := keys.get(part.object_id)) is None:
            continue
        parts[names.category(key)][names.part(key, part.name)].append(part.mask)
    pixels = record.width * record.height
    entities = []
    for name, region in zip(objects, _regions(objects), strict=True):
        if region.area / pixels < filters.min_object_area:
            dropped.objects += 1
            continue
        regions = _regions(parts[name])
        # An empty mask is no visible part, even if the least area is 0.
        visible = tuple(
            region
            for region in sorted(regions, key=lambda region: region.name)
            if region.area and region.area / pixels >= filters.min_part_area
        )
        dropped.parts += len(regions) - len(visible)
        entities.append(Entity(region, visible, record.parts_known))
    return sorted(entities, key=lambda entity: entity.region.name)


def _regions(instances: dict[str, list[Rle]]) -> list[NamedMask]:
    """Return the union of each name's masks, in the order of the dict."""
    united = [masks.union(members) for members in instances.values()]
    # One call measures all masks: each call into the mask library has a fixed cost.
    measured = zip(instances, united, masks.measure(united), strict=True)
    return [NamedMask(name, mask, area, bbox) for name, mask, (area, bbox) in measured]
