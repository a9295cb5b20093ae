"""Reads `teaware/{train,validation,test}.json`: images with nested objects and parts.

{"images": [{"name": "a.png", "width": 64, "height": 48, "objects": [
    {"class": "teapot", "outline": [x, y, …], "parts": [{"name": "spout", "outline": […]}]}]}]}
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from builders.formats.paths import safe_name
from builders.formats.segmentation import Refusal, read_segmentations
from mixedparts.errors import InputError, UsageError
from mixedparts.images.checks import check_image
from mixedparts.masks import Rle
from mixedparts.records import ImageRecord, Level, ObjectInstance, PartInstance, Reason, Reject
from mixedparts.sources.contract import SPLITS, ReadShard
from mixedparts.sources.description import describe
from mixedparts.sources.manifests import Manifest


class TeawareSource:
    """What `mixedparts.sources.contract.Source` asks for, and a manifest of its own."""

    name = "teaware"
    version = "1"

    def manifest(self, root: Path | None) -> Manifest:
        """Return classes, parts, groups and licence; they come with this package."""
        text = resources.files("teaware").joinpath("teaware.yaml").read_text(encoding="utf-8")
        return describe(text, "teaware.yaml")

    def layout(self, root: Path) -> str:
        """Return the tree of files that the source is looked for in."""
        return f"{root}/\n  teaware/{{train,validation,test}}.json\n  teaware/images/*.png"

    def splits(self, root: Path) -> tuple[str, ...]:
        """Return the splits whose file is there."""
        found = tuple(split for split in SPLITS if (root / _file(split)).exists())
        if found and not (root / "teaware/images").is_dir():
            message = f"teaware: the folder {root / 'teaware/images'} is not there"
            raise InputError(message, f"Looked for:\n{self.layout(root)}")
        return found

    def required_files(self, root: Path, split: str) -> tuple[str, ...]:
        """Return what a split is read from: a change there makes it another build."""
        return (_file(split), "teaware/images")

    def image_folders(self, root: Path, split: str) -> tuple[str, ...]:
        """Return those with images only: their names and sizes are enough to notice a change."""
        return ("teaware/images",)

    def plan(self, root: Path, split: str, shard_images: int, variant: str) -> list[ReadShard]:
        """Divide a split into runs of images."""
        if split not in SPLITS or variant or shard_images < 1:
            raise UsageError(f"teaware has no split '{split}', or no variant '{variant}'")
        total = len(_images(root / _file(split)))
        return [
            ReadShard(self.name, split, str(root), _file(split), n, min(n + shard_images, total))
            for n in range(0, max(total, 1), shard_images)
        ]

    def read(self, shard: ReadShard) -> Iterator[ImageRecord | Reject]:
        """Yield the images of a shard; what cannot be used becomes a reject, never an error."""
        entries = _images(Path(shard.root) / shard.file)
        first: dict[str, int] = {}
        for position, entry in enumerate(entries):
            first.setdefault(str(_get(entry, "name")), position)
        for position in range(shard.start, shard.stop):
            seen = first[str(_get(entries[position], "name"))] < position
            yield from _read_image(shard, entries[position], position, seen)


def _read_image(
    shard: ReadShard, entry: Any, position: int, seen: bool
) -> Iterator[ImageRecord | Reject]:
    def refuse(level: Level, record: str, fault: Refusal) -> Reject:
        return Reject(shard.source, shard.split, shard.file, record, level, *fault)

    classes = TeawareSource().manifest(None).objects
    fault = _image_fault(Path(shard.root), entry, seen)
    lost = Refusal(Reason.IMAGE_REJECTED, f"image {position}") if fault else None
    objects: list[ObjectInstance] = []
    parts: list[PartInstance] = []
    for number, item in enumerate(_listed(entry, "objects")):
        own, known = f"{position}/{number}", classes.get(str(_get(item, "class")))
        unknown = None if known else Refusal(Reason.UNKNOWN_CATEGORY, "no class of that name")
        mask = lost or unknown or _mask(item, entry)
        if isinstance(mask, Refusal):
            yield refuse(Level.OBJECT, own, mask)
        elif known:
            objects.append(ObjectInstance(own, known.key, mask))
        orphan = Refusal(Reason.ORPHAN_PART, own) if isinstance(mask, Refusal) else None
        names = {part.native for part in known.parts} if known else set()
        for at, part in enumerate(_listed(item, "parts")):
            name = _get(part, "name")
            odd = None if name in names else Refusal(Reason.UNKNOWN_CATEGORY, "no part of it")
            found = lost or orphan or odd or _mask(part, entry)
            if isinstance(found, Refusal):
                yield refuse(Level.PART, f"{own}/{at}", found)
            else:
                parts.append(PartInstance(f"{own}/{at}", own, name, found))
    if fault:
        yield refuse(Level.IMAGE, str(position), fault)
        return
    yield ImageRecord(
        source=shard.source,
        split=shard.split,
        image_id=entry["name"],
        file_name=entry["name"],
        path=f"teaware/images/{entry['name']}",
        width=entry["width"],
        height=entry["height"],
        objects=tuple(objects),
        parts=tuple(parts),
    )


def _image_fault(root: Path, entry: Any, seen: bool) -> Refusal | None:
    """Say why an image cannot be used."""
    name, width, height = (_get(entry, key) for key in ("name", "width", "height"))
    if not (isinstance(name, str) and type(width) is type(height) is int):
        return Refusal(Reason.MALFORMED_RECORD, "name, width or height is missing")
    if seen:
        return Refusal(Reason.DUPLICATE_ID, f"{name} was there before")
    path = safe_name(name)
    if path is None:
        return Refusal(Reason.UNSAFE_PATH, repr(name))
    fault = check_image(root / "teaware/images" / path, width, height)
    return Refusal(*fault) if fault else None


def _get(record: Any, key: str) -> Any:
    return record.get(key) if isinstance(record, dict) else None


def _listed(record: Any, key: str) -> list[Any]:
    value = _get(record, key)
    return value if isinstance(value, list) else []


def _file(split: str) -> str:
    return f"teaware/{split}.json"


def _images(path: Path) -> list[Any]:
    """Return the images of a file; one that cannot be read as a whole is one clear error."""
    try:
        images = json.loads(path.read_bytes())["images"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} is not a teaware file: {error}", "Unpack it again.") from None
    if not isinstance(images, list):
        raise InputError(f"{path}: 'images' is not a list", "Unpack it again.")
    return images


def _mask(record: Any, image: Any) -> Rle | Refusal:
    """Return the pixels inside an outline, or why there are none."""
    raw = memoryview(json.dumps([_get(record, "outline")]).encode())
    return read_segmentations([raw], image["width"], image["height"])[0].mask
