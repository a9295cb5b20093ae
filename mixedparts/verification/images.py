"""Rules of the `images` table: image bytes, digests, sizes and row numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from mixedparts.errors import InputError
from mixedparts.images.opening import (
    UnreadableImage,
    decodable_size,
    image_bytes,
    orientation_of,
)
from mixedparts.storage.build_folder import BuildFolder
from mixedparts.verification.findings import Findings, Rule


def check_images(
    build: BuildFolder, file: str, split: str, first: int, licences: Mapping[str, str], mode: str
) -> Findings:
    """Check one shard of the images table.

    Args:
        build: the build.
        file: path of the shard, relative to the build folder.
        split: split of the shard.
        first: row number of the shard's first row.
        licences: source -> licence note of its images.
        mode: how the build stores images: `embed`, `reference`, or `omit` in a copy without them.

    Returns:
        The problems.

    Raises:
        DamagedShard: the shard cannot be read.
    """
    found = Findings()
    expected = first
    for batch in build.shard_batches(file, rows=64):
        for row in batch.to_pylist():
            name = f"row {expected} ({row['image_id']})"
            # Rows of `pairs` refer to images by number, across the shards of a split.
            if row["row"] != expected:
                found.add(Rule.ORDER, file, name, f"has the row number {row['row']}")
            expected += 1
            if row["split"] != split:
                found.add(Rule.IMAGE, file, name, f"split '{row['split']}' in a {split} shard")
            if row["licence"] != licences.get(row["source"]):
                text = f"licence note '{row['licence']}' is not that of its source"
                found.add(Rule.IMAGE, file, name, text)
            for text in _pixel_problems(row, mode):
                found.add(Rule.PIXELS, file, name, text)
    return found


def _pixel_problems(row: Mapping[str, Any], mode: str) -> list[str]:
    """Return the problems of an image's bytes, in the build or in the file that it refers to."""
    stored = row["image"] or {"bytes": None, "path": None}
    data = stored["bytes"]
    if mode == "omit":
        return ["has image bytes in a build without pixels"] if data is not None else []
    if mode == "reference":
        if data is not None:
            return ["has image bytes in a build that only refers to files"]
        try:
            data = image_bytes(stored["path"] or "")
        except InputError as error:
            return [error.message]
    if data is None:
        return ["no image bytes"]
    problems = []
    digest = hashlib.sha256(data).hexdigest()
    if digest != row["sha256"]:
        problems.append(f"sha256 {row['sha256']}, the image has {digest}")
    try:
        size = decodable_size(data)
        orientation = orientation_of(data) if mode == "embed" else 1
    except UnreadableImage as fault:
        return [*problems, f"the image cannot be opened: {fault}"]
    if size != (row["width"], row["height"]):
        problems.append(f"size {row['width']} x {row['height']}, the image has {size}")
    # Masks are on the stored pixel grid. A build removes the tag from the bytes that it stores;
    # an untouched file may have it, and readers of a reference build must ignore it.
    if orientation != 1:
        problems.append(f"EXIF orientation {orientation} would turn the image but not its masks")
    return problems


def image_fault(data: bytes) -> str | None:
    """Return why bytes cannot be opened as an image; None if they can."""
    try:
        decodable_size(data)
    except UnreadableImage as fault:
        return str(fault)
    return None
