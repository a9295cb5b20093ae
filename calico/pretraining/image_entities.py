"""What the pairs of a split say about each single image.

A pair lists only the parts that its question is about, so what an image shows is put together from
all pairs it occurs in, and from what they say by leaving a part out: parts unique to one entity
are absent from the other, and of two entities that both show a part, a row about common parts
names it.
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
        mask: of the object.
        parts: visible parts with their masks.
        unmasked: parts that must be visible though no pair lists their masks.
        absent: parts that are known not to be visible.
    """

    mask: Rle
    parts: dict[str, Rle] = field(default_factory=dict)
    unmasked: set[str] = field(default_factory=set)
    absent: set[str] = field(default_factory=set)

    def is_complete(self, names: Iterable[str]) -> bool:
        """Say whether each of the parts is either masked here or known to be absent."""
        return all(name in self.parts or name in self.absent for name in names)


ImageEntities = dict[str, LabelledEntity]
"""The entities of one image by class name."""


def gather_entities(samples: Iterable[Sample]) -> dict[int, ImageEntities]:
    """Return the entities of every image of some samples, by row of the images table."""
    found: dict[int, ImageEntities] = {}
    about_parts: list[tuple[Sample, list[LabelledEntity]]] = []
    for sample in samples:
        both = [_listed(sample, image, found) for image in range(len(sample.images))]
        if sample.task != Task.COMMON_OBJECT and len(both) == 2:
            about_parts.append((sample, both))
    for sample, both in about_parts:
        _conclude(sample, both)
    return found


def _listed(sample: Sample, image: int, found: dict[int, ImageEntities]) -> LabelledEntity:
    """Note what a sample lists for one of its images; return the entity it is about."""
    own = [one for one in sample.regions if one.image == image]
    named = next(one for one in own if not one.is_part)
    entities = found.setdefault(sample.images[image].row, {})
    entity = entities.setdefault(named.label, LabelledEntity(named.mask))
    entity.parts.update((one.label, one.mask) for one in own if one.is_part)
    return entity


def _conclude(sample: Sample, both: Sequence[LabelledEntity]) -> None:
    """Note what a sample about parts says by what it does not list."""
    listed = [
        {one.label for one in sample.regions if one.is_part and one.image == image}
        for image in range(2)
    ]
    for here, there in ((0, 1), (1, 0)):
        entity, partner = both[here], both[there]
        if sample.task == Task.UNIQUE_PARTS:
            entity.absent |= listed[there]
            entity.unmasked |= partner.parts.keys() - listed[there] - entity.parts.keys()
        else:
            entity.absent |= partner.parts.keys() - listed[here]
