"""Index of a split in memory: the images and entities that rows of `pairs` are compared with.

The index has hashes instead of masks, so that a full-sized split takes some hundred megabytes.
Python's hashes differ from process to process, so they are compared within one process only.
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
        key: the entity's 64-bit key, from which sample ids are computed.
        region: `region_hash` of the object's mask, box and area.
        parts_known: whether the source annotates parts of this image.
        parts: part name -> `region_hash` of each visible part, in the order of the names.
    """

    key: int
    region: int
    parts_known: bool
    parts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class SplitIndex:
    """The index of a split.

    Attributes:
        images: row of `images` -> source, image id, width and height.
        entities: (row of `images`, class) -> entity.
    """

    images: Mapping[int, ImageMetadata]
    entities: Mapping[tuple[int, str], EntityRow]


def region_hash(region: Mapping[str, Any]) -> int:
    """Return a hash of a region's mask, box and area, valid within this process only."""
    mask, box = region["mask"], region["bbox"]
    return hash((mask["counts"], tuple(mask["size"]), tuple(box), region["area"]))


def image_metadata(build: BuildFolder, split: str) -> Mapping[int, ImageMetadata]:
    """Return row -> source, image id, width and height, of the images of a split."""
    return _image_metadata(build, split, _digests(build, "images", split))


def split_index(build: BuildFolder, split: str) -> SplitIndex:
    """Return the index of a split, without entities that have no row or an incomplete mask.

    Entities without a row are of images that no sample uses; incomplete ones are reported by the
    check of `entities`.
    """
    digests = _digests(build, "images", split) + _digests(build, "entities", split)
    return _split_index(build, split, digests)


def _digests(build: BuildFolder, table: str, split: str) -> tuple[str, ...]:
    """Return the recorded digests of a split's shards: equal builds are compared by path alone."""
    return tuple(shard.sha256 for shard in build.table_shards(table, split))


# One entry: tasks come split by split, so the index of a split is needed no more once another split
# begins.
@lru_cache(maxsize=1)
def _image_metadata(
    build: BuildFolder, split: str, digests: tuple[str, ...]
) -> Mapping[int, ImageMetadata]:
    return {
        row["row"]: (row["source"], row["image_id"], row["width"], row["height"])
        for row in build.rows("images", split, _IMAGE_COLUMNS)
    }


@lru_cache(maxsize=1)
def _split_index(build: BuildFolder, split: str, digests: tuple[str, ...]) -> SplitIndex:
    # One string object for each name: Arrow makes a new one for every row.
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
    """Return whether an entity row has every value that the other checks read."""
    if any(row[name] is None for name in ("source", "image_id", "category", "parts")):
        return False
    return all(
        part is not None and part["name"] is not None and region_is_whole(part)
        for part in row["parts"]
    ) and region_is_whole(row)


def region_is_whole(region: Mapping[str, Any]) -> bool:
    """Return whether a region has a mask with a size, a box of four numbers and an area."""
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
