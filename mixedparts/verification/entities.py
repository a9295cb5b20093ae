"""Rules of the `entities` table: every mask is decoded, measured and compared with the filters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mixedparts.storage.build_folder import BuildFolder
from mixedparts.verification.findings import Findings, Rule
from mixedparts.verification.index import ImageMetadata, entity_is_whole, image_metadata
from mixedparts.verification.regions import region_problems


@dataclass(frozen=True, slots=True)
class Shares:
    """The area filters of a build.

    Attributes:
        objects: least share of the image that an object covers, in [0, 1].
        parts: least share of the image that a part covers, in [0, 1].
    """

    objects: float
    parts: float


def check_entities(build: BuildFolder, file: str, split: str, shares: Shares) -> Findings:
    """Check one shard of the entities table.

    Args:
        build: the build.
        file: path of the shard, relative to the build folder.
        split: split of the shard.
        shares: area filters of the build.

    Returns:
        The problems.

    Raises:
        DamagedShard: the shard, or one of the split's images or entities, cannot be read.
    """
    found = Findings()
    images = image_metadata(build, split)
    # Entities name their image by source and id; `images` is indexed by row.
    rows_of = {(source, image): row for row, (source, image, _, _) in images.items()}
    for batch in build.shard_batches(file, rows=500):
        for row in batch.to_pylist():
            name = f"{row['source']} {row['image_id']} {row['category']}"
            if not entity_is_whole(row) or not (row["width"] and row["height"]):
                found.add(Rule.STRUCTURE, file, name, "a value is missing")
                continue
            if row["split"] != split:
                found.add(Rule.ENTITY, file, name, f"split '{row['split']}' in a {split} shard")
            # None if no sample uses the image; the entity's row must then be null.
            image_row = rows_of.get((row["source"], row["image_id"]))
            for rule, text in _problems(row, shares, image_row, images):
                found.add(rule, file, name, text)
    return found


def _problems(
    row: Mapping[str, Any],
    shares: Shares,
    image_row: int | None,
    images: Mapping[int, ImageMetadata],
) -> Iterator[tuple[Rule, str]]:
    """Yield (rule, sentence) for each problem of an entity row whose values are all there."""
    if row["row"] != image_row:
        yield Rule.IMAGE, f"refers to row {row['row']} of images, its image is row {image_row}"
    elif image_row is not None:
        size = images[image_row][2:]
        if size != (row["width"], row["height"]):
            yield Rule.IMAGE, f"size {row['width']} x {row['height']}, its image has {size}"
    names = [part["name"] for part in row["parts"]]
    if names != sorted(set(names)):
        yield Rule.PARTS, f"part names {names} are not sorted, or one occurs twice"
    if names and not row["parts_known"]:
        yield Rule.PARTS, "has parts although its parts are unknown"
    # Position 0 is the object itself.
    regions = [row, *row["parts"]]
    for place, rule, text in region_problems(regions, row["height"], row["width"]):
        yield rule, f"{'part ' + names[place - 1] + ': ' if place else ''}{text}"
    pixels = row["height"] * row["width"]
    if row["area"] / pixels < shares.objects:
        yield Rule.FILTER, f"covers {row['area'] / pixels:.4%} of the image, under the least share"
    for part in row["parts"]:
        if part["area"] / pixels < shares.parts:
            share = part["area"] / pixels
            yield Rule.FILTER, f"part {part['name']} covers {share:.4%}, under the least share"
