"""ADE20K-Part-234 (OV-PARTS): object masks in JSON, part ids in a 16-bit PNG an image.

Source of the format: the loaders of the OV_PARTS repository. Its val file serves two splits here: a
hash of the image id puts each image into `validation` or `test`. The variant `official` puts all of
them into both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builders.bases.coco_annotations import Annotation
from builders.bases.coco_index import CocoIndex
from builders.bases.coco_source import CocoSource, SplitFiles
from builders.bases.look_up import locate
from builders.formats.image_rejects import ImageHeader, Refuser
from builders.formats.paths import Places
from builders.formats.segmentation import Refusal
from builders.formats.segmentation_maps import SIXTEEN_BIT, UnusableMap, read_label_map
from builders.formats.val_test_split import OFFICIAL, val_or_test
from mixedparts import masks
from mixedparts.records import ImageRecord, Level, ObjectInstance, PartInstance, Reason, Reject
from mixedparts.sources.contract import ReadShard
from mixedparts.sources.manifests import load_manifest

_BASE = "ADE20KPart234"
_SHORT = {"train": "train", "validation": "val", "test": "val"}
_FOLDERS = {"train": "training", "validation": "validation", "test": "validation"}
_UNLABELLED = 65535


class Ade20kPartSource(CocoSource):
    """Reader of `ade20k_instance_{train,val}.json` and the part PNGs."""

    name = "ade20k"
    version = "1"
    level = Level.OBJECT
    variants = ("", "hash", OFFICIAL)

    def layout(self, root: Path) -> str:
        """Return the tree of files that the reader expects, as lines of text."""
        return (
            f"{root}/\n"
            "  ADE20KPart234/ade20k_instance_{train,val}.json\n"
            "  ADE20KPart234/annotations_detectron2_part/{training,validation}/*.png\n"
            "  ADE20KPart234/images/{training,validation}/*.jpg"
        )

    def files(self, root: Path, split: str) -> SplitFiles:
        """Return the files and folders of a split; validation and test have the same."""
        folder = _FOLDERS[split]
        return SplitFiles(
            f"{_BASE}/ade20k_instance_{_SHORT[split]}.json",
            images=(f"{_BASE}/images/{folder}",),
            maps=(f"{_BASE}/annotations_detectron2_part/{folder}",),
        )

    @staticmethod
    def image_key(record_id: str, file_name: str) -> str:
        """Return `image_id`: the file stem."""
        return PurePosixPath(file_name).stem

    def picture_places(self, split: str, name: PurePosixPath) -> Places:
        """Return the path with the folders of the file name, and without them."""
        base = f"{_BASE}/images/{_FOLDERS[split]}"
        return Places(f"{base}/{name}", (f"{base}/{name.name}",))

    def selects(self, shard: ReadShard, image_id: str | None) -> bool:
        """Return whether an image is in the split of a shard; see `CocoSource.selects`."""
        # Faults without an image must be reported once, so they belong to `validation` alone.
        if shard.split == "train" or shard.variant == OFFICIAL:
            return True
        return shard.split == ("validation" if image_id is None else val_or_test(image_id))

    def map_folder(self, root: Path, split: str) -> Path:
        """Return the folder of the part PNGs of a split."""
        return root / f"{_BASE}/annotations_detectron2_part/{_FOLDERS[split]}"

    def read_image(
        self,
        root: Path,
        index: CocoIndex,
        header: ImageHeader,
        annotations: Sequence[Annotation],
        refuse: Refuser,
    ) -> Iterator[ImageRecord | Reject]:
        """Yield the record of a usable image; parts are the pixels of the part map in each object.

        Args:
            root: folder that the source's layout starts from.
            index: index of the annotation file.
            header: the image.
            annotations: its readable annotations, in file order.
            refuse: creates the rejects.

        Yields:
            Rejects, then the `ImageRecord`.
        """
        objects: list[ObjectInstance] = []
        for outcome in _objects(index, header, annotations, refuse):
            if isinstance(outcome, ObjectInstance):
                objects.append(outcome)
            else:
                yield outcome
        parts: list[PartInstance] = []
        parts_known = True
        labels = _labels(self.map_folder(root, refuse.split), index, header)
        if isinstance(labels, Refusal):
            # The objects are still usable: the record has no parts, marked as unknown.
            parts_known = False
            yield refuse(Level.IMAGE, header.record_id, *labels)
        else:
            # Only the part ids of this image's classes are encoded, of 234.
            wanted = {key for item in objects for key in _part_names(item.category)}
            present = masks.from_labels(labels, wanted)
            parts = [part for item in objects for part in _parts(item, present)]
            # A value outside of the vocabulary is one reject an image, not one a pixel.
            for value in np.flatnonzero(np.bincount(labels.ravel())).tolist():
                if value != _UNLABELLED and value not in _part_ids():
                    detail = f"value in {header.name.stem}.png"
                    yield refuse(Level.PART, str(value), Reason.UNKNOWN_CATEGORY, detail)
        yield header.record(refuse, objects, parts, parts_known)


def _labels(folder: Path, index: CocoIndex, header: ImageHeader) -> NDArray[Any] | Refusal:
    """Return the (H, W) part ids of an image, or why its map cannot be used."""
    path, clash = locate(folder, index, header.name, _map_places)
    if clash:
        return Refusal(Reason.AMBIGUOUS_MAP, clash)
    try:
        return read_label_map(folder / path, header.width, header.height, SIXTEEN_BIT)
    except UnusableMap as error:
        return Refusal(Reason.MISSING_PART_MAP, str(error))


def _map_places(name: PurePosixPath) -> Places:
    """Return the places of the part PNG of an image, which is named after the image file."""
    own = name.with_suffix(".png")
    return Places(str(own), (own.name,))


def _objects(
    index: CocoIndex, header: ImageHeader, annotations: Sequence[Annotation], refuse: Refuser
) -> Iterator[ObjectInstance | Reject]:
    """Yield the usable objects of an image, and a reject for each of the others."""
    classes = _classes(index)
    for item in annotations:
        for dropped in item.segmentation.dropped:
            yield refuse(Level.POLYGON, item.id, *dropped)
        if item.category_id not in classes:
            detail = f"category {item.category_id}"
            yield refuse(Level.OBJECT, item.id, Reason.UNKNOWN_CATEGORY, detail)
        elif isinstance(item.segmentation.mask, Refusal):
            yield refuse(Level.OBJECT, item.id, *item.segmentation.mask)
        else:
            yield ObjectInstance(item.id, classes[item.category_id], item.segmentation.mask)


def _parts(item: ObjectInstance, present: dict[int, masks.Rle]) -> Iterator[PartInstance]:
    """Yield the parts of one object."""
    # The map has no instances: the pixels of a part id inside the mask of an object are its part.
    # Where masks of two objects of a class overlap, both get the pixels.
    for part_id, native in _part_names(item.category).items():
        if part_id in present:
            mask = masks.intersection([present[part_id], item.mask])
            if not masks.is_empty(mask):
                yield PartInstance(f"{item.id}:{part_id}", item.id, native, mask)


@cache
def _part_names(category: str) -> dict[int, str]:
    """Return part id -> native name for one object class."""
    return {part.id: part.native for part in load_manifest("ade20k").objects[category].parts}


@cache
def _part_ids() -> frozenset[int]:
    """Return the part ids of all classes."""
    objects = load_manifest("ade20k").objects.values()
    return frozenset(part.id for item in objects for part in item.parts)


@lru_cache(maxsize=1)
def _classes(index: CocoIndex) -> dict[str, str]:
    """Return category id as text -> class name, for the classes of the manifest."""
    objects = load_manifest("ade20k").objects
    return {
        key: category.name for key, category in index.categories.items() if category.name in objects
    }
