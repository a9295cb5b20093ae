"""Numbers for the distinct masks of rows: a mask that many rows show is written once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from mixedparts.interchange.export.rows import Row


@dataclass(frozen=True, slots=True)
class CocoAnnotation:
    """A mask of a row with what it means.

    Attributes:
        number: counts from 0 within its `AnnotationNumbers`; equal for equal masks.
        is_new: whether this is the first time that it is seen.
        image: place of its image in the row.
        category: class of the object; for a part, of the object it belongs to.
        part: name of the part, empty for an object.
        owner: number of the part's object, its own for an object.
        value: `mask`, `bbox` and `area` as in the row.
        owner_area: pixels of the part's object, its own for an object.
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
        """The keys that every COCO annotation has."""
        return {
            "segmentation": self.value["mask"],
            "bbox": self.value["bbox"],
            "area": self.value["area"],
            "iscrowd": 0,
        }


class AnnotationNumbers:
    """Numbers the masks of rows by image, class, part name and pixels."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}

    def of(
        self, row: Row, image_keys: list[str]
    ) -> tuple[list[CocoAnnotation], list[CocoAnnotation]]:
        """Return a row's objects and parts.

        Args:
            image_keys: what tells the row's images from all others.
        """
        objects = [self._region(image_keys, item, item["category"]) for item in row["objects"]]
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
        part = "" if owner_of is None else item["name"]
        owner = None if owner_of is None else owner_of[item["image"]]
        words = [image_keys[item["image"]], category, part, item["mask"]["counts"]]
        if owner is not None:  # one part mask under two objects is two annotations
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
