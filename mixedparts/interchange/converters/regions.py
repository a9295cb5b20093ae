"""The regions of a row of `pairs`, objects and parts in one form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedparts import masks
from mixedparts.errors import InputError
from mixedparts.masks import InvalidMask, Rle

OBJECT = "object"


@dataclass(frozen=True, slots=True)
class RowRegion:
    """One object or part of a row.

    Attributes:
        label: class of an object, name of a part.
        kind: `object`, or the kind of the part in its row, such as `common` or `unique`.
        category: class of the object; for a part, of the object that it belongs to.
        image: index of its image in the row, from 0.
        mask: on the stored grid of its image.
    """

    label: str
    kind: str
    category: str
    image: int
    mask: Rle

    @property
    def dense(self) -> NDArray[np.bool_]:
        """The mask as (H, W) bool, at the size of its image."""
        return masks.decode(self.mask).astype(bool)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The tight box (x, y, w, h) in pixels; four zeros for an empty mask."""
        x, y, width, height = (round(value) for value in masks.bbox(self.mask))
        return x, y, width, height


def row_regions(row: Mapping[str, Any]) -> list[RowRegion]:
    """Return the objects, then the parts of a row, in the order of its lists.

    Raises:
        InputError: a key is missing, a mask is invalid or has another size than its image.
    """
    try:
        classes = {item["image"]: item["category"] for item in reversed(row["objects"])}
        items = [(item, item["category"], OBJECT) for item in row["objects"]]
        items += [(item, item["name"], item["kind"]) for item in row["parts"]]
        regions = [
            RowRegion(label, kind, classes.get(item["image"], ""), item["image"], _mask(item))
            for item, label, kind in items
        ]
        sizes = [(ref["height"], ref["width"]) for ref in row["images"]]
    except KeyError as error:
        raise InputError(
            f"a row lacks {error}: rows of `pairs` are needed",
            "Load them with mixedparts.load_dataset(name, split=…).",
        ) from error
    except InvalidMask as error:
        raise InputError(f"row {row.get('id')} has an invalid mask: {error}") from error
    for region in regions:
        size = (region.mask.height, region.mask.width)
        if not 0 <= region.image < len(sizes) or size != sizes[region.image]:
            raise InputError(
                f"row {row.get('id')}: the mask of '{region.label}' does not fit an image of the"
                f" row: it is {size[0]} x {size[1]} (h x w), of image {region.image}"
            )
    return regions


def class_names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of all objects and parts of some rows, sorted.

    Their places in this list are class ids that are equal for all of the rows.
    """
    return sorted({name for row in rows for name in _names(row)})


def _names(row: Mapping[str, Any]) -> set[str]:
    return {item["category"] for item in row["objects"]} | {item["name"] for item in row["parts"]}


def _mask(item: Mapping[str, Any]) -> Rle:
    height, width = item["mask"]["size"]
    return masks.from_string(item["mask"]["counts"], height, width)
