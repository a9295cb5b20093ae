"""How many images, objects and parts the splits of the three sources have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of one split: images, objects and parts."""

    images: int
    objects: int
    parts: int

    def times(self, factor: float) -> Counts:
        """Return the numbers multiplied and rounded; at least one image with one object."""
        images = max(1, round(self.images * factor))
        objects = max(images, round(self.objects * factor))
        return Counts(images, objects, round(self.parts * factor))


# PACO-LVIS: docs/PACO_DATASET.md of its repository. PartImageNet_Seg and ADE20K-Part-234: images as
# the releases have them. PartImageNet has one object an image; its parts, and the objects and parts
# of ADE20K-Part-234, are assumptions: 3.2 parts an image, 5 objects an image, 2.2 parts an object.
FULL: Mapping[str, Mapping[str, Counts]] = {
    "paco": {
        "train": Counts(45_790, 217_117, 395_071),
        "val": Counts(2_410, 10_794, 20_945),
        "test": Counts(9_443, 45_861, 86_041),
    },
    "partimagenet": {
        "train": Counts(20_481, 20_481, 65_539),
        "val": Counts(1_206, 1_206, 3_859),
        "test": Counts(2_408, 2_408, 7_706),
    },
    "ade20k": {
        "train": Counts(8_351, 41_755, 91_861),
        "val": Counts(1_016, 5_080, 11_176),
    },
}

_SMALL = 0.01

PROFILES: Mapping[str, Mapping[str, Mapping[str, Counts]]] = {
    "full": FULL,
    "small": {
        source: {split: counts.times(_SMALL) for split, counts in splits.items()}
        for source, splits in FULL.items()
    },
}
"""`full` has the numbers of the real datasets, `small` a hundredth of them."""
