"""What rows of `pairs` are compared with: the images and the entities of one split, in memory.

Masks are kept as hashes only, so that the index of a full-sized split stays in the hundreds of
megabytes; hashes are compared within one process and never leave it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from mixedparts.pairing.samples import entity_key
from mixedparts.storage.build_folder import BuildFolder

ImageMetadata = tuple[str, str, int, int]  # source, image id, width, height
_IMAGE_COLUMNS = ["row", "source", "image_id", "width", "height"]
_ENTITY_COLUMNS = ["source", "image_id", "row", "category", "mask", "bbox", "area"]


@dataclass(frozen=True, slots=True)
class EntityRow:
    """One entity that rows may show.

    Attributes:
        key: of sample ids.
        region: `region_hash` of the object's mask, box and area.
        parts: the same of each visible part, by name, in the order of the names.
    """

    key: int
    region: int
    parts_known: bool
    parts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class SplitIndex:
    """Images by row, and entities by image row and class."""

    images: Mapping[int, ImageMetadata]
    entities: Mapping[tuple[int, str], EntityRow]


def region_hash(region: Mapping[str, Any]) -> int:
    """Return a hash of a region's mask, box and area; the same within this process only."""
    mask, box = region["mask"], region["bbox"]
    return hash((mask["counts"], tuple(mask["size"]), tuple(box), region["area"]))


@lru_cache(maxsize=1)
def image_metadata(build: BuildFolder, split: str) -> Mapping[int, ImageMetadata]:
    """Return what the images table says of the images of a split, by row."""
    return {
        row["row"]: (row["source"], row["image_id"], row["width"], row["height"])
        for row in build.rows("images", split, _IMAGE_COLUMNS)
    }


@lru_cache(maxsize=1)
def split_index(build: BuildFolder, split: str) -> SplitIndex:
    """Return the index of a split; entities whose row or mask is void are left to their check."""
    names: dict[str, str] = {}
    entities: dict[tuple[int, str], EntityRow] = {}
    for row in build.rows("entities", split, [*_ENTITY_COLUMNS, "parts_known", "parts"]):
        if row["row"] is None or not entity_is_whole(row):
            continue
        parts = {names.setdefault(p["name"], p["name"]): region_hash(p) for p in row["parts"]}
        entities[row["row"], row["category"]] = EntityRow(
            entity_key(row["source"], row["image_id"], row["category"]),
            region_hash(row),
            row["parts_known"],
            parts,
        )
    return SplitIndex(image_metadata(build, split), entities)


def entity_is_whole(row: Mapping[str, Any]) -> bool:
    """Say whether an entity row has a value wherever the other checks look."""
    if any(row[name] is None for name in ("source", "image_id", "category", "parts")):
        return False
    return all(
        part is not None and part["name"] is not None and region_is_whole(part)
        for part in row["parts"]
    ) and region_is_whole(row)


def region_is_whole(region: Mapping[str, Any]) -> bool:
    """Say whether a region has a mask with a size, a box of four numbers and an area."""
    mask, box = region["mask"], region["bbox"]
    if mask is None or mask["counts"] is None or region["area"] is None:
        return False
    size = mask["size"]
    return (
        size is not None
        and len(size) == 2
        and None not in size
        and box is not None
        and len(box) == 4
        and None not in box
    )
