"""ADE20K, the full release: one JSON an image, part instances, and a PNG for every instance.

Source of the format: two records of the release in the ADE20K repository. The reader takes the 44
objects and 234 parts of ADE20K-Part-234, each part with its own mask and its annotated owner.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath

import msgspec
import numpy as np
from numpy.typing import NDArray

from builders.bases.ade20k_records import (
    NAME,
    AdeImage,
    AdeRecord,
    Role,
    read_annotation,
    roles,
)
from builders.bases.coco_index import Fault
from builders.bases.file_source import FileSource, UnusableImage, checked_image
from builders.formats.file_listing import annotation_files
from builders.formats.image_rejects import ImageHeader, Refuser
from builders.formats.paths import safe_name
from builders.formats.segmentation import Refusal, read_segmentations
from builders.formats.segmentation_maps import COLOUR, EIGHT_BIT, UnusableMap, read_label_map
from mixedparts import masks
from mixedparts.files.folders import list_folder
from mixedparts.masks import Rle
from mixedparts.records import ImageRecord, Level, ObjectInstance, PartInstance, Reason, Reject

_BASE = "ADE20K_2021_17_01/images/ADE"
_FOLDERS = {"train": "training", "validation": "validation", "test": "validation"}
# Pixels of 128 are hidden behind other objects. The polygon includes them, so the PNG is the better
# mask.
_VISIBLE = 255


class Ade20kFullSource(FileSource):
    """Reader of `<stem>.json`, `<stem>/instance_*.png`, `<stem>_seg.png`, `<stem>_parts_*.png`."""

    name = NAME
    version = "1"

    def layout(self, root: Path) -> str:
        """Return the tree of files that the reader expects, as lines of text."""
        return (
            f"{root}/\n"
            f"  {_BASE}/{{training,validation}}/<scene>/…/<stem>.json\n"
            "      and beside it <stem>.jpg, <stem>/instance_*.png, <stem>_seg.png,\n"
            "      <stem>_parts_1.png, <stem>_parts_2.png"
        )

    def splits(self, root: Path) -> tuple[str, ...]:
        """Return the splits with at least one file; see `Source.splits`."""
        return tuple(split for split in _FOLDERS if self.listing(root, split))

    def required_files(self, root: Path, split: str) -> tuple[str, ...]:
        """Return the folder that contains everything of a split; see `Source.required_files`."""
        return (f"{_BASE}/{_FOLDERS[split]}",)

    def listing(self, root: Path, split: str) -> Sequence[str | Reject]:
        """Return the JSON files of a split, and a reject for each repeated image id."""
        entries: list[str | Reject] = []
        # The stem is the image id, but files are in a folder for each scene. The first one counts.
        seen: dict[str, str] = {}
        for path in annotation_files(root, f"{_BASE}/{_FOLDERS[split]}", ".json"):
            stem = PurePosixPath(path).stem
            if seen.setdefault(stem, path) == path:
                entries.append(path)
            else:
                refuse = Refuser(self.name, split, path)
                detail = f"{seen[stem]} was there before"
                entries.append(refuse(Level.IMAGE, stem, Reason.DUPLICATE_ID, detail))
        return entries

    def read_file(self, root: Path, file: str, refuse: Refuser) -> Iterator[ImageRecord | Reject]:
        """Yield the record of one image, and a reject for every record that is refused.

        Args:
            root: folder that the source's layout starts from.
            file: the JSON file, relative to `root`.
            refuse: creates the rejects.

        Yields:
            Rejects, then the `ImageRecord` of a usable image.

        Raises:
            UnusableImage: the JSON file cannot be read.
        """
        place = PurePosixPath(file)
        image = read_annotation(root / file)
        for level, fault in image.faults:
            yield refuse(level, *fault)
        try:
            header = _header(root, place, image)
        except UnusableImage as fault_of_image:
            yield refuse(Level.IMAGE, place.stem, fault_of_image.reason, fault_of_image.detail)
            detail = f"image {place.stem}: {fault_of_image.reason}"
            for record in image.records:
                yield refuse(_level(record), record.id, Reason.IMAGE_REJECTED, detail)
            return
        roles_by_id = roles(image)
        instance_masks = _InstanceMasks(root, place, header, image.records)
        objects: dict[str, ObjectInstance] = {}
        parts: list[PartInstance] = []
        # Objects before parts, in file order otherwise: a part is refused if its object is.
        for record in sorted(image.records, key=lambda record: _is_part(roles_by_id[record.id])):
            item = _instance(record, roles_by_id[record.id], instance_masks, objects)
            if isinstance(item, Fault):
                yield refuse(_level(record), *item)
            elif isinstance(item, PartInstance):
                parts.append(item)
            else:
                objects[item.id] = item
        if instance_masks.replaced:
            replaced = instance_masks.replaced
            detail = f"{len(replaced)} by outline and class map: {replaced[0]}"
            yield refuse(Level.IMAGE, place.stem, Reason.UNREADABLE_OBJECT_MAP, detail)
        yield header.record(refuse, tuple(objects.values()), parts)


def _header(root: Path, place: PurePosixPath, image: AdeImage) -> ImageHeader:
    """Return the header of a usable image; raise UnusableImage for any other."""
    # The file name has no folder that counts: the image is beside its JSON file.
    name = safe_name(image.file_name) if image.file_name else PurePosixPath(f"{place.stem}.jpg")
    if name is None:
        raise UnusableImage(Reason.UNSAFE_PATH, repr(image.file_name))
    path = place.parent / name.name
    if name.stem != place.stem and (rival := _rival(root, place, name.name)):
        raise UnusableImage(Reason.AMBIGUOUS_IMAGE, f"{name.name} is the image of {rival} as well")
    return checked_image(root, place.stem, name.name, path, image.width, image.height)


def _rival(root: Path, place: PurePosixPath, picture: str) -> str | None:
    """Return another JSON file of the folder with this image file; None if there is none."""
    # An image is usually named as its JSON file, so the others are read for odd names only.
    users = _users(root / place.parent, os.stat(root / place.parent).st_mtime_ns)
    return next((file for file in users.get(picture, ()) if file != place.name), None)


@lru_cache(maxsize=1)
def _users(folder: Path, mtime_ns: int) -> dict[str, list[str]]:
    """Return image file -> names of the JSON files that it belongs to, in the order of names."""
    users: dict[str, list[str]] = {}
    # Not `glob`, which returns nothing for a folder that may not be listed.
    paths = [Path(entry.path) for entry in list_folder(folder) if entry.name.endswith(".json")]
    for path in paths:
        with suppress(UnusableImage):
            name = safe_name(read_annotation(path).file_name or f"{path.stem}.jpg")
            if name is not None:
                users.setdefault(name.name, []).append(path.name)
    return users


def _level(record: AdeRecord) -> Level:
    """Return the level at which a record is refused."""
    return Level.OBJECT if record.parent is None else Level.PART


def _is_part(role: Role | Fault) -> bool:
    return isinstance(role, Role) and role.owner is not None


def _instance(
    record: AdeRecord,
    role: Role | Fault,
    instance_masks: _InstanceMasks,
    objects: dict[str, ObjectInstance],
) -> ObjectInstance | PartInstance | Fault:
    """Return the instance of a record, or why it is refused; `objects` are complete for parts."""
    if isinstance(role, Fault):
        return role
    if role.owner is not None and role.owner.id not in objects:
        detail = f"its object {role.owner.id} was refused"
        return Fault(record.id, Reason.ORPHAN_PART, detail)
    mask = instance_masks.of(record)
    if isinstance(mask, Refusal):
        return Fault(record.id, *mask)
    if role.owner is None:
        return ObjectInstance(record.id, role.category, mask)
    return PartInstance(record.id, role.owner.id, role.part, mask)


class _InstanceMasks:
    """Masks of the records of one image.

    Args:
        root: folder that the source's layout starts from.
        place: the JSON file, relative to `root`.
        header: the image.
        records: all records of the image.

    Attributes:
        replaced: the fault of each instance PNG that was replaced by outline and class map.
    """

    def __init__(
        self, root: Path, place: PurePosixPath, header: ImageHeader, records: Sequence[AdeRecord]
    ) -> None:
        self._folder = root / place.parent
        self._stem = place.stem
        self._header = header
        self._users: dict[str, list[str]] = {}  # PNG -> ids of the records that name it
        for record in records:
            if record.instance_file:
                key = str(PurePosixPath(record.instance_file))
                self._users.setdefault(key, []).append(record.id)
        self.replaced: list[str] = []

    def of(self, record: AdeRecord) -> Rle | Refusal:
        """Return the visible pixels of a record, from its PNG or from outline and class map."""
        width, height = self._header.width, self._header.height
        try:
            name = safe_name(record.instance_file)
            if name is None:
                raise UnusableMap(f"not the name of a PNG: {record.instance_file!r}")
            users = self._users[str(name)]
            if len(users) > 1:
                ids = " and ".join(users[:2])
                raise UnusableMap(f"{name.name} is the mask of objects {ids}")
            values = read_label_map(self._folder / name, width, height, EIGHT_BIT)
        except UnusableMap as error:
            return self._outlined(record, str(error))
        mask = masks.from_dense(values == _VISIBLE)
        if masks.is_empty(mask):
            return Refusal(Reason.EMPTY_MASK, f"{name.name} has no visible pixel")
        return mask

    def _outlined(self, record: AdeRecord, why: str) -> Rle | Refusal:
        """Return the pixels inside the outline that the class map gives to the class."""
        # The outline includes hidden pixels; there the class map has the class of what hides them.
        # The polygon takes the same path as JSON masks, with all its checks.
        raw = msgspec.Raw(msgspec.json.encode([record.polygon] if record.polygon else []))
        (read,) = read_segmentations([raw], self._header.width, self._header.height)
        if isinstance(read.mask, Refusal):
            return Refusal(Reason.MISSING_MASK, f"{why}; its outline: {read.mask.detail}")
        classes = self._seg if record.level == 0 else self._parts.get(record.level)
        if classes is None:
            return Refusal(Reason.MISSING_MASK, f"{why}; no class map of level {record.level}")
        same = masks.from_dense(classes == record.name_ndx)
        mask = masks.intersection([read.mask, same])
        if masks.is_empty(mask):
            return Refusal(Reason.EMPTY_MASK, f"{why}; its outline holds no pixel of its class")
        self.replaced.append(why)
        return mask

    # Read on demand and once: images with all their instance PNGs need no class map.
    @cached_property
    def _seg(self) -> NDArray[np.int32] | None:
        return self._classes("_seg.png")

    @cached_property
    def _parts(self) -> dict[int, NDArray[np.int32]]:
        maps = {level: self._classes(f"_parts_{level}.png") for level in (1, 2, 3)}
        return {level: values for level, values in maps.items() if values is not None}

    def _classes(self, suffix: str) -> NDArray[np.int32] | None:
        """Return the (H, W) class ids (name_ndx) of a class map, None if it cannot be used."""
        path, header = self._folder / f"{self._stem}{suffix}", self._header
        try:
            rgb = read_label_map(path, header.width, header.height, COLOUR).astype(np.int32)
        except UnusableMap:
            return None
        # The encoding of the release: red has the high digits in steps of 10, green the low byte.
        classes: NDArray[np.int32] = rgb[:, :, 0] // 10 * 256 + rgb[:, :, 1]
        return classes
