"""Numbers for the distinct masks of rows, so that a mask in many rows becomes one annotation."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from mixedparts.interchange.export.rows import Row


@dataclass(frozen=True, slots=True)
class CocoAnnotation:
    """An object or part of a row, with the number of its mask.

    Attributes:
        number: number of the mask, from 0; equal masks of one meaning have equal numbers.
        is_new: whether the number occurs for the first time.
        image: position of the image in the row.
        category: class of the object; for a part, of the object that it belongs to.
        part: name of the part; empty for an object.
        owner: number of the part's object; for an object its own number.
        value: the row's entry, with `mask`, `bbox` and `area`.
        owner_area: pixels of the part's object; for an object its own pixels.
    """

    number: int
    is_new: bool
    image: int
    category: str
    part: str
    owner: int
    value: dict[str, Any]
    owner_area: int

    @property
    def coco(self) -> dict[str, Any]:
        """The keys of a COCO annotation that depend on its mask only."""
        return {
            "segmentation": self.value["mask"],
            "bbox": self.value["bbox"],
            "area": self.value["area"],
            "iscrowd": 0,
        }


class AnnotationNumbers:
    """Numbers the masks of rows by image, class, part name and pixels."""

    def __init__(self) -> None:
        # Digests of 12 bytes as keys: the run-length texts of a full split take far more memory.
        self._numbers: dict[bytes, int] = {}

    def annotations_of(
        self, row: Row, image_keys: list[str]
    ) -> tuple[list[CocoAnnotation], list[CocoAnnotation]]:
        """Return a row's objects and parts with their numbers.

        Args:
            row: a row of `pairs`, or a dict with the same `objects` and `parts`.
            image_keys: for each image of the row, a text that identifies it in the split.
        """
        objects = [self._region(image_keys, item, item["category"]) for item in row["objects"]]
        # Reversed, so that the first object of an image wins if a row has several.
        owner_of = {item.image: item for item in reversed(objects)}
        parts = [
            self._region(image_keys, item, owner_of[item["image"]].category, owner_of)
            for item in row["parts"]
        ]
        return objects, parts

    def _region(
        self,
        image_keys: list[str],
        item: dict[str, Any],
        category: str,
        owner_of: dict[int, CocoAnnotation] | None = None,
    ) -> CocoAnnotation:
        """Return an object, or a part if `owner_of` gives the objects by image."""
        part = "" if owner_of is None else item["name"]
        owner = None if owner_of is None else owner_of[item["image"]]
        words = [image_keys[item["image"]], category, part, item["mask"]["counts"]]
        # A part annotation names its object, so one part mask under two objects is two annotations.
        if owner is not None:
            words.append(str(owner.number))
        key = hashlib.blake2b("\0".join(words).encode(), digest_size=12).digest()
        number = self._numbers.get(key)
        is_new = number is None
        if number is None:
            number = self._numbers[key] = len(self._numbers)
        return CocoAnnotation(
            number, is_new, item["image"], category, part,
            number if owner is None else owner.number, item,
            item["area"] if owner is None else owner.value["area"],
        )  # fmt: skip
