"""Collect the entities of each single image from the pairs of a split.

A pair lists only the parts that its question is about, so the parts of an image are collected from
all pairs that contain it. The parts that a pair leaves out are known too: parts unique to one
entity are absent from the other, and a row about common parts lists every part that both entities
show.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from calico.dataset.sample import Sample
from mixedparts.masks import Rle
from mixedparts.records import Task


@dataclass(slots=True)
class LabelledEntity:
    """One object class in one image.

    Attributes:
        mask: of the object, at the size of the image.
        parts: names of visible parts -> their masks.
        unmasked: parts that are visible, but whose masks no pair lists.
        absent: parts that are known not to be visible.
    """

    mask: Rle
    parts: dict[str, Rle] = field(default_factory=dict)
    unmasked: set[str] = field(default_factory=set)
    absent: set[str] = field(default_factory=set)

    def is_complete(self, names: Iterable[str]) -> bool:
        """Return whether each of the parts either has a mask or is known to be absent."""
        return all(name in self.parts or name in self.absent for name in names)


ImageEntities = dict[str, LabelledEntity]
"""The entities of one image by class name."""


def gather_entities(samples: Iterable[Sample]) -> dict[int, ImageEntities]:
    """Return the entities of every image of some samples, by row of the images table."""
    by_row: dict[int, ImageEntities] = {}
    about_parts: list[tuple[Sample, list[LabelledEntity]]] = []
    for sample in samples:
        both = [_listed(sample, image, by_row) for image in range(len(sample.images))]
        # With three images or more, a left-out part does not show which image lacks it.
        if sample.task != Task.COMMON_OBJECT and len(both) == 2:
            about_parts.append((sample, both))
    # After all samples: a conclusion needs every part that the partner has in any of them.
    for sample, both in about_parts:
        _conclude(sample, both)
    return by_row


def _listed(sample: Sample, image: int, by_row: dict[int, ImageEntities]) -> LabelledEntity:
    """Record the parts that a sample lists for one of its images; return their entity."""
    regions = [region for region in sample.regions if region.image == image]
    thing = next(region for region in regions if not region.is_part)
    entities = by_row.setdefault(sample.images[image].row, {})
    entity = entities.setdefault(thing.label, LabelledEntity(thing.mask))
    entity.parts.update((region.label, region.mask) for region in regions if region.is_part)
    return entity


def _conclude(sample: Sample, both: Sequence[LabelledEntity]) -> None:
    """Record what follows from the parts that a sample about two images does not list."""
    listed = [
        {region.label for region in sample.regions if region.is_part and region.image == image}
        for image in range(2)
    ]
    for here, there in ((0, 1), (1, 0)):
        entity, partner = both[here], both[there]
        if sample.task == Task.UNIQUE_PARTS:
            # What only the partner has is absent here. What the partner has and the row does not
            # list for it is common, hence visible here, even if no row gives its mask.
            entity.absent |= listed[there]
            entity.unmasked |= partner.parts.keys() - listed[there] - entity.parts.keys()
        else:
            # The row lists all common parts: what else the partner has is absent here.
            entity.absent |= partner.parts.keys() - listed[here]
