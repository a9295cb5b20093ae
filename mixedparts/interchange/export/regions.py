"""Annotations for the distinct masks of a split: one for each entity, one for each of its parts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from mixedparts.errors import InputError
from mixedparts.interchange.export.rows import Row


@dataclass(frozen=True, slots=True)
class CocoAnnotation:
    """An object or part, with the id of its annotation.

    Attributes:
        id: id of the annotation, unique in the dataset.
        category: class of the object; for a part, of the object that it belongs to.
        part: name of the part; empty for an object.
        owner: id of the part's object; for an object its own id.
        value: the region, with `mask`, `bbox` and `area`.
    """

    id: int
    category: str
    part: str
    owner: int
    value: dict[str, Any]

    @property
    def coco(self) -> dict[str, Any]:
        """The keys of a COCO annotation that depend on its mask only."""
        return {
            "segmentation": self.value["mask"],
            "bbox": self.value["bbox"],
            "area": self.value["area"],
            "iscrowd": 0,
        }


class AnnotationIds:
    """The ids of a split's annotations, found by image, class, part name and pixels."""

    def __init__(self) -> None:
        # Digests of 12 bytes as keys: the run-length texts of a full split take far more memory.
        self._ids: dict[bytes, int] = {}

    def add(self, entity: Row, first: int) -> list[CocoAnnotation]:
        """Return the annotations of an entity: its object, then its parts.

        Args:
            entity: a row of `entities` whose image is in the table `images`.
            first: id of the object; the parts have the next ones.

        Returns:
            The annotations.
        """
        category = entity["category"]
        self._ids.setdefault(_key(entity["row"], category, "", entity), first)
        found = [CocoAnnotation(first, category, "", first, entity)]
        for number, part in enumerate(entity["parts"], first + 1):
            self._ids.setdefault(_key(entity["row"], category, part["name"], part), number)
            found.append(CocoAnnotation(number, category, part["name"], first, part))
        return found

    def of_row(self, row: Row) -> tuple[list[int], list[int]]:
        """Return the ids of the objects and of the parts of a row of `pairs`.

        Raises:
            InputError: the row shows a mask that no entity of its images has.
        """
        classes = {item["image"]: item["category"] for item in reversed(row["objects"])}
        rows = [ref["row"] for ref in row["images"]]
        try:
            objects = [
                self._ids[_key(rows[item["image"]], item["category"], "", item)]
                for item in row["objects"]
            ]
            parts = [
                self._ids[_key(rows[p["image"]], classes[p["image"]], p["name"], p)]
                for p in row["parts"]
            ]
        except KeyError as error:
            raise InputError(
                f"pairs row {row['id']}: one of its masks is not that of an entity",
                "Look at what `mixedparts verify --level deep` reports for this build.",
            ) from error
        return objects, parts


def _key(image_row: int, category: str, part: str, region: Row) -> bytes:
    """Return a digest of what identifies a region in its split."""
    words = str(image_row), category, part, region["mask"]["counts"]
    return hashlib.blake2b("\0".join(words).encode(), digest_size=12).digest()
