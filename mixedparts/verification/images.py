"""Rules of the `images` table: pictures with their digests, sizes and places."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from mixedparts.storage.build_folder import BuildFolder
from mixedparts.verification.findings import Findings, Rule

_ORIENTATION = 0x0112  # EXIF tag


def check_images(
    build: BuildFolder, file: str, split: str, first: int, licences: Mapping[str, str], mode: str
) -> Findings:
    """Check one shard of the images table.

    Args:
        first: the row number that the shard begins with.
        licences: the note that belongs to each source's images.
        mode: how the build keeps pictures: `embed`, `reference`, or `omit` in a copy without them.
    """
    found = Findings()
    expected = first
    for batch in build.open_shard(file).iter_batches(64):
        for row in batch.to_pylist():
            name = f"row {expected} ({row['image_id']})"
            if row["row"] != expected:
                found.add(Rule.ORDER, file, name, f"says that it is row {row['row']}")
            expected += 1
            if row["split"] != split:
                found.add(Rule.IMAGE, file, name, f"split '{row['split']}' in a {split} shard")
            if row["licence"] != licences.get(row["source"]):
                found.add(Rule.IMAGE, file, name, f"licence note '{row['licence']}' of another")
            for text in _picture_problems(row, mode):
                found.add(Rule.PIXELS, file, name, text)
    return found


def _picture_problems(row: Mapping[str, Any], mode: str) -> list[str]:
    """Return what is wrong with the stored picture, or the file that stands for it."""
    stored = row["image"] or {"bytes": None, "path": None}
    data = stored["bytes"]
    if mode == "omit":
        return ["a picture where the build says there is none"] if data is not None else []
    if mode == "reference":
        if data is not None:
            return ["a picture where the build only refers to files"]
        try:
            data = Path(stored["path"] or "").read_bytes()
        except OSError as error:
            return [f"the picture it refers to cannot be read: {error.strerror or error}"]
    if data is None:
        return ["no picture"]
    problems = []
    digest = hashlib.sha256(data).hexdigest()
    if digest != row["sha256"]:
        problems.append(f"sha256 {row['sha256']}, the picture has {digest}")
    fault = image_fault(data)
    if fault is not None:
        return [*problems, f"the picture cannot be opened: {fault}"]
    with Image.open(io.BytesIO(data)) as picture:
        size, turned = picture.size, picture.getexif().get(_ORIENTATION, 1)
    if size != (row["width"], row["height"]):
        problems.append(f"size {row['width']} x {row['height']}, the picture has {size}")
    if mode == "embed" and turned != 1:
        problems.append(f"EXIF orientation {turned} would turn the picture away from its masks")
    return problems


def image_fault(data: bytes) -> str | None:
    """Return why bytes cannot be opened as a picture, None if they can; pixels are not decoded."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.getexif()
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        return str(error)
    return None
