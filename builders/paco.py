"""PACO-LVIS v1: objects as polygons, parts as run lengths linked to their object, COCO images.

Source of the format: docs/PACO_DATASET.md of the PACO repository, and its loaders.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath

import msgspec

from builders.bases.coco_annotations import Annotation
from builders.bases.coco_index import CocoIndex
from builders.bases.coco_source import CocoSource, SplitFiles
from builders.formats.identifiers import id_text
from builders.formats.image_rejects import ImageHeader, Refuser
from builders.formats.paths import Places
from builders.formats.segmentation import Refusal
from mixedparts.masks import Rle
from mixedparts.records import (
    ImageRecord,
    Level,
    ObjectInstance,
    PartInstance,
    Reason,
    Reject,
)
from mixedparts.sources.manifests import load_manifest

_SHORT = {"train": "train", "validation": "val", "test": "test"}
_IMAGE_FOLDERS = ("coco/train2017", "coco/val2017")


class _Class(msgspec.Struct, frozen=True, gc=False):
    """The meaning of a category: an object class, or the part of that class in `part`."""

    key: str
    part: str | None


class PacoSource(CocoSource):
    """Reader of `paco_lvis_v1_{train,val,test}.json`."""

    name = "paco"
    version = "1"
    level = Level.OBJECT

    def layout(self, root: Path) -> str:
        """Return the tree of files that the reader expects, as lines of text."""
        return (
            f"{root}/\n"
            "  paco/annotations/paco_lvis_v1_{train,val,test}.json\n"
            "  coco/{train2017,val2017}/*.jpg"
        )

    def files(self, root: Path, split: str) -> SplitFiles:
        """Return the files and folders of a split; any split may use both image folders."""
        file = f"paco/annotations/paco_lvis_v1_{_SHORT[split]}.json"
        # One of the folders is enough. Without any, the first is named as missing.
        present = tuple(folder for folder in _IMAGE_FOLDERS if (root / folder).is_dir())
        return SplitFiles(file, present or ("coco/train2017",))

    @staticmethod
    def image_key(record_id: str, file_name: str) -> str:
        """Return `image_id`: the COCO id as text."""
        return record_id

    def picture_places(self, split: str, name: PurePosixPath) -> Places:
        """Return `coco/<file_name>`, or both folders for a name without folder."""
        if len(name.parts) > 1:
            return Places(f"coco/{name}")
        return Places("", tuple(f"{folder}/{name}" for folder in _IMAGE_FOLDERS))

    def level_of(self, index: CocoIndex, annotation: Annotation) -> Level:
        """Return the level by the category, else by the link to another annotation."""
        meaning = _classes(index).get(annotation.category_id)
        if meaning is not None:
            return Level.OBJECT if meaning.part is None else Level.PART
        return self.level_by_link(annotation)

    def read_image(
        self,
        root: Path,
        index: CocoIndex,
        header: ImageHeader,
        annotations: Sequence[Annotation],
        refuse: Refuser,
    ) -> Iterator[ImageRecord | Reject]:
        """Yield the record of a usable image; parts are not clipped to their object.

        Args:
            root: folder that the source's layout starts from.
            index: index of the annotation file.
            header: the image.
            annotations: its readable annotations, in file order.
            refuse: creates the rejects.

        Yields:
            Rejects, then the `ImageRecord`.
        """
        classes = _classes(index)
        # All objects before any part: a part can come before its object in the file.
        of_objects: list[tuple[Annotation, _Class]] = []
        of_parts: list[tuple[Annotation, _Class]] = []
        dropped: list[Reject] = []
        for item in annotations:
            meaning = classes.get(item.category_id)
            if meaning is None:
                level, detail = self.level_of(index, item), f"category {item.category_id}"
                yield refuse(level, item.id, Reason.UNKNOWN_CATEGORY, detail)
                continue
            (of_objects if meaning.part is None else of_parts).append((item, meaning))
            if item.segmentation.dropped:
                dropped += [refuse(Level.POLYGON, item.id, *at) for at in item.segmentation.dropped]
        yield from dropped
        objects: dict[str, ObjectInstance] = {}
        for item, meaning in of_objects:
            mask = item.segmentation.mask
            if isinstance(mask, Refusal):
                yield refuse(Level.OBJECT, item.id, *mask)
            else:
                objects[item.id] = ObjectInstance(item.id, meaning.key, mask)
        parts: list[PartInstance] = []
        for item, meaning in of_parts:
            part = _part(item, meaning, item.segmentation.mask, objects)
            if isinstance(part, Refusal):
                yield refuse(Level.PART, item.id, *part)
            else:
                parts.append(part)
        yield header.record(refuse, tuple(objects.values()), parts)


def _part(
    item: Annotation, meaning: _Class, mask: Rle | Refusal, objects: Mapping[str, ObjectInstance]
) -> PartInstance | Refusal:
    """Return a part of one of the objects of its image, or why it is refused."""
    owner_id = id_text(item.link)
    if owner_id is None and item.link is not None:
        return Refusal(Reason.MALFORMED_RECORD, "obj_ann_id is not an id")
    owner = objects.get(owner_id or "")
    if owner is None:
        return Refusal(Reason.ORPHAN_PART, f"no usable object {owner_id} in its image")
    # The category names the object class as well: `car:wheel` linked to a dog is an error upstream.
    if owner.category != meaning.key:
        detail = f"{meaning.key}:{meaning.part} of a {owner.category}"
        return Refusal(Reason.PART_CLASS_MISMATCH, detail)
    if isinstance(mask, Refusal):
        return mask
    return PartInstance(item.id, owner.id, meaning.part or "", mask)


@lru_cache(maxsize=1)
def _classes(index: CocoIndex) -> dict[str, _Class]:
    """Return category id as text -> its meaning, for the classes and parts of the manifest."""
    # One index at a time: a process reads the shards of a file one after the other.
    objects = load_manifest("paco").objects
    classes = {}
    for category_id, category in index.categories.items():
        key, colon, part = category.name.partition(":")
        if key not in objects:
            continue
        if not colon:
            classes[category_id] = _Class(key, None)
        elif any(item.native == part for item in objects[key].parts):
            classes[category_id] = _Class(key, part)
    return classes
