"""PACO-LVIS v1: objects as polygons, parts as run lengths linked to their object, COCO pictures.

Source of the format: docs/PACO_DATASET.md of the PACO repository, and its published loaders.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from builders.bases.coco_index import CocoIndex
from builders.bases.coco_source import Annotation, CocoSource, SplitFiles
from builders.formats.identifiers import id_text
from builders.formats.image_rejects import Picture, Refuser
from builders.formats.segmentation import Refusal, read_segmentations
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
_PICTURE_FOLDERS = ("coco/train2017", "coco/val2017")


class _Class(NamedTuple):
    """What a category means: an object, or with a part name, that part of the object."""

    key: str
    part: str | None


class PacoSource(CocoSource):
    """Reader of `paco_lvis_v1_{train,val,test}.json`."""

    name = "paco"
    version = "1"
    level = Level.OBJECT

    def layout(self, root: Path) -> str:
        """Return the tree of files that the source is looked for in."""
        return (
            f"{root}/\n"
            "  paco/annotations/paco_lvis_v1_{train,val,test}.json\n"
            "  coco/{train2017,val2017}/*.jpg"
        )

    def files(self, root: Path, split: str) -> SplitFiles:
        """Say where a split lies; any split may use both picture folders."""
        file = f"paco/annotations/paco_lvis_v1_{_SHORT[split]}.json"
        there = tuple(folder for folder in _PICTURE_FOLDERS if (root / folder).is_dir())
        return SplitFiles(file, there or ("coco/train2017",))

    @staticmethod
    def image_key(record_id: str, file_name: str) -> str:
        """Return `image_id`: the COCO id as text."""
        return record_id

    def picture_paths(self, split: str, name: PurePosixPath) -> Iterator[str]:
        """Yield `coco/<file_name>`, or for a bare name both folders."""
        if len(name.parts) > 1:
            yield f"coco/{name}"
        else:
            yield from (f"{folder}/{name}" for folder in _PICTURE_FOLDERS)

    def level_of(self, index: CocoIndex, annotation: Annotation) -> Level:
        """Tell a part by its category, else by its link to another annotation."""
        known = _classes(index).get(annotation.category_id)
        if known is not None:
            return Level.OBJECT if known.part is None else Level.PART
        linked = annotation.link is not None and id_text(annotation.link) != annotation.id
        return Level.PART if linked else Level.OBJECT

    def read_image(
        self,
        root: Path,
        index: CocoIndex,
        picture: Picture,
        annotations: Sequence[Annotation],
        refuse: Refuser,
    ) -> Iterator[ImageRecord | Reject]:
        """Yield the record of a usable picture; parts are not cut by their object."""
        classes = _classes(index)
        known = []
        for item in annotations:
            if item.category_id in classes:
                known.append((item, classes[item.category_id]))
            else:
                level, detail = self.level_of(index, item), f"category {item.category_id}"
                yield refuse(level, item.id, Reason.UNKNOWN_CATEGORY, detail)
        raws = [item.segmentation for item, _ in known]
        read = read_segmentations(raws, picture.width, picture.height)
        for (item, _), segmentation in zip(known, read, strict=True):
            for reason, detail in segmentation.dropped:
                yield refuse(Level.POLYGON, item.id, reason, detail)
        objects: dict[str, ObjectInstance] = {}
        for (item, meaning), segmentation in zip(known, read, strict=True):
            if meaning.part is not None:
                continue
            if isinstance(segmentation.mask, Refusal):
                yield refuse(Level.OBJECT, item.id, *segmentation.mask)
            else:
                objects[item.id] = ObjectInstance(item.id, meaning.key, segmentation.mask)
        parts: list[PartInstance] = []
        for (item, meaning), segmentation in zip(known, read, strict=True):
            if meaning.part is not None:
                part = _part(item, meaning, segmentation.mask, objects)
                if isinstance(part, Refusal):
                    yield refuse(Level.PART, item.id, *part)
                else:
                    parts.append(part)
        yield picture.record(refuse, tuple(objects.values()), parts)


def _part(
    item: Annotation, meaning: _Class, mask: Rle | Refusal, objects: Mapping[str, ObjectInstance]
) -> PartInstance | Refusal:
    """Return a part of one of the image's objects, or why it is refused."""
    owner_id = id_text(item.link)
    if owner_id is None and item.link is not None:
        return Refusal(Reason.MALFORMED_RECORD, "obj_ann_id is no id")
    owner = objects.get(owner_id or "")
    if owner is None:
        return Refusal(Reason.ORPHAN_PART, f"no usable object {owner_id} in its image")
    if owner.category != meaning.key:
        detail = f"{meaning.key}:{meaning.part} of a {owner.category}"
        return Refusal(Reason.PART_CLASS_MISMATCH, detail)
    if isinstance(mask, Refusal):
        return mask
    return PartInstance(item.id, owner.id, meaning.part or "", mask)


@lru_cache(maxsize=1)
def _classes(index: CocoIndex) -> dict[str, _Class]:
    """Return category id as text -> its meaning, for names that the manifest knows."""
    objects = load_manifest("paco").objects
    classes = {}
    for category_id, category in index.categories.items():
        key, colon, part = category.name.partition(":")
        if key not in objects:
            continue
        if not colon:
            classes[category_id] = _Class(key, None)
        elif any(known.native == part for known in objects[key].parts):
            classes[category_id] = _Class(key, part)
    return classes
