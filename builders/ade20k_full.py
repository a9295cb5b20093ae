"""ADE20K, the full release: one JSON an image, true part instances, a PNG for every instance.

Source of the format: two records of the release that the ADE20K repository shows. The 44 objects
and 234 parts of ADE20K-Part-234 are read, each part with its own mask and its true owner.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from builders.bases.ade20k_records import (
    NAME,
    AdeImage,
    AdeRecord,
    Role,
    read_annotation,
    roles,
)
from builders.bases.coco_index import Fault
from builders.bases.file_source import FileSource, Refused, checked_image
from builders.formats.file_listing import annotation_files
from builders.formats.image_rejects import Picture, Refuser
from builders.formats.paths import safe_name
from builders.formats.segmentation import Refusal, read_segmentations
from builders.formats.segmentation_maps import EIGHT_BIT, UnusableMap, read_label_map
from mixedparts import masks
from mixedparts.masks import Rle
from mixedparts.records import ImageRecord, Level, ObjectInstance, PartInstance, Reason, Reject

_BASE = "ADE20K_2021_17_01/images/ADE"
_FOLDERS = {"train": "training", "validation": "validation", "test": "validation"}
_VISIBLE = 255  # 128 is what the object has behind others: the polygon, too, goes on there


class Ade20kFullSource(FileSource):
    """Reader of `<stem>.json`, `<stem>/instance_*.png`, `<stem>_seg.png`, `<stem>_parts_*.png`."""

    name = NAME
    version = "1"

    def layout(self, root: Path) -> str:
        """Return the tree of files that the source is looked for in."""
        return (
            f"{root}/\n"
            f"  {_BASE}/{{training,validation}}/<scene>/…/<stem>.json\n"
            "      and beside it <stem>.jpg, <stem>/instance_*.png, <stem>_seg.png,\n"
            "      <stem>_parts_1.png, <stem>_parts_2.png"
        )

    def splits(self, root: Path) -> tuple[str, ...]:
        """Return the splits with a file at least; see `Source.splits`."""
        return tuple(split for split in _FOLDERS if self.listing(root, split))

    def required_files(self, root: Path, split: str) -> tuple[str, ...]:
        """Return the folder that holds everything of a split; see `Source.required_files`."""
        return (f"{_BASE}/{_FOLDERS[split]}",)

    def listing(self, root: Path, split: str) -> Sequence[str | Reject]:
        """Return the JSON files of a split; a stem that two scenes have counts once."""
        found: list[str | Reject] = []
        seen: dict[str, str] = {}
        for path in annotation_files(root, f"{_BASE}/{_FOLDERS[split]}", ".json"):
            stem = PurePosixPath(path).stem
            if seen.setdefault(stem, path) == path:
                found.append(path)
            else:
                refuse = Refuser(self.name, split, path)
                detail = f"{seen[stem]} was there before"
                found.append(refuse(Level.IMAGE, stem, Reason.DUPLICATE_ID, detail))
        return found

    def read_file(self, root: Path, file: str, refuse: Refuser) -> Iterator[ImageRecord | Reject]:
        """Yield the record of one image, and a reject for every object that is not in it."""
        place = PurePosixPath(file)
        image = read_annotation(root / file)
        for level, fault in image.faults:
            yield refuse(level, *fault)
        try:
            picture = _picture(root, place, image)
        except Refused as fault_of_image:
            yield refuse(Level.IMAGE, place.stem, fault_of_image.reason, fault_of_image.detail)
            detail = f"image {place.stem}: {fault_of_image.reason}"
            for record in image.records:
                yield refuse(_level(record), record.id, Reason.IMAGE_REJECTED, detail)
            return
        found = roles(image)
        shapes = _Shapes(root, place, picture)
        objects: dict[str, ObjectInstance] = {}
        parts: list[PartInstance] = []
        for record in sorted(image.records, key=lambda record: _is_part(found[record.id])):
            item = _instance(record, found[record.id], shapes, objects)
            if isinstance(item, Fault):
                yield refuse(_level(record), *item)
            elif isinstance(item, PartInstance):
                parts.append(item)
            else:
                objects[item.id] = item
        if shapes.replaced:
            detail = f"{len(shapes.replaced)} by outline and class map: {shapes.replaced[0]}"
            yield refuse(Level.IMAGE, place.stem, Reason.UNREADABLE_OBJECT_MAP, detail)
        yield picture.record(refuse, tuple(objects.values()), parts)


def _picture(root: Path, place: PurePosixPath, image: AdeImage) -> Picture:
    name = safe_name(image.file_name) if image.file_name else PurePosixPath(f"{place.stem}.jpg")
    if name is None:
        raise Refused(Reason.UNSAFE_PATH, repr(image.file_name))
    path = place.parent / name.name
    return checked_image(root, place.stem, name.name, path, image.width, image.height)


def _level(record: AdeRecord) -> Level:
    return Level.OBJECT if record.parent is None else Level.PART


def _is_part(role: Role | Fault) -> bool:
    return isinstance(role, Role) and role.owner is not None


def _instance(
    record: AdeRecord, role: Role | Fault, shapes: _Shapes, objects: dict[str, ObjectInstance]
) -> ObjectInstance | PartInstance | Fault:
    """Return what a record is with its mask, or why it is refused; objects come before parts."""
    if isinstance(role, Fault):
        return role
    if role.owner is not None and role.owner.id not in objects:
        detail = f"its object {role.owner.id} was refused"
        return Fault(record.id, Reason.ORPHAN_PART, detail)
    mask = shapes.of(record)
    if isinstance(mask, Refusal):
        return Fault(record.id, *mask)
    if role.owner is None:
        return ObjectInstance(record.id, role.category, mask)
    return PartInstance(record.id, role.owner.id, role.part, mask)


class _Shapes:
    """Masks of one image's records.

    Attributes:
        replaced: why an instance PNG could not be used, for each record that went on without.
    """

    def __init__(self, root: Path, place: PurePosixPath, picture: Picture) -> None:
        self._folder = root / place.parent
        self._stem = place.stem
        self._picture = picture
        self.replaced: list[str] = []

    def of(self, record: AdeRecord) -> Rle | Refusal:
        """Return the visible pixels: the instance PNG's, else the outline's of the same class."""
        width, height = self._picture.width, self._picture.height
        try:
            name = safe_name(record.instance_file)
            if name is None:
                raise UnusableMap(f"no name of a PNG: {record.instance_file!r}")
            values = read_label_map(self._folder / name, width, height, EIGHT_BIT)
        except UnusableMap as error:
            return self._outlined(record, str(error))
        mask = masks.from_dense(values == _VISIBLE)
        if masks.area(mask) == 0:
            return Refusal(Reason.EMPTY_MASK, f"{name.name} has no visible pixel")
        return mask

    def _outlined(self, record: AdeRecord, why: str) -> Rle | Refusal:
        raw = msgspec.Raw(msgspec.json.encode([record.polygon] if record.polygon else []))
        (read,) = read_segmentations([raw], self._picture.width, self._picture.height)
        if isinstance(read.mask, Refusal):
            return Refusal(Reason.MISSING_MASK, f"{why}; its outline: {read.mask.detail}")
        classes = self._seg if record.level == 0 else self._parts.get(record.level)
        if classes is None:
            return Refusal(Reason.MISSING_MASK, f"{why}; no class map of level {record.level}")
        same = masks.from_dense(classes == record.name_ndx)
        mask = masks.intersection([read.mask, same])
        if masks.area(mask) == 0:
            return Refusal(Reason.EMPTY_MASK, f"{why}; its outline holds no pixel of its class")
        self.replaced.append(why)
        return mask

    @cached_property
    def _seg(self) -> NDArray[np.int32] | None:
        return self._classes("_seg.png")

    @cached_property
    def _parts(self) -> dict[int, NDArray[np.int32]]:
        maps = {level: self._classes(f"_parts_{level}.png") for level in (1, 2, 3)}
        return {level: values for level, values in maps.items() if values is not None}

    def _classes(self, suffix: str) -> NDArray[np.int32] | None:
        """Return (H, W) name_ndx of a class map, None where it cannot be used."""
        try:
            with Image.open(self._folder / f"{self._stem}{suffix}", formats=("PNG",)) as picture:
                if picture.mode != "RGB" or picture.size != (
                    self._picture.width,
                    self._picture.height,
                ):
                    return None
                rgb = np.asarray(picture).astype(np.int32)
        except Exception:  # a decoder given broken bytes may raise anything
            return None
        classes: NDArray[np.int32] = rgb[:, :, 0] // 10 * 256 + rgb[:, :, 1]
        return classes
