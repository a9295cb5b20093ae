"""What a source reader yields: image records with masks, and rejects with a reason.

Frame of coordinates: the stored pixel grid of the image, x to the right, y down, EXIF
orientation not applied.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:  # numpy and pycocotools take a tenth of a second, and `--help` needs neither
    from mixedparts.masks import Rle

SPLITS = ("train", "validation", "test")
BENCHMARK = "benchmark"  # a split of `pairs` whose rows are copies of rows of test


class Task(StrEnum):
    """The three sub-tasks of part-focused semantic co-segmentation (CALICO, section 3)."""

    COMMON_OBJECT = "common_object"
    COMMON_PARTS = "common_parts"
    UNIQUE_PARTS = "unique_parts"


class Level(StrEnum):
    """What kind of record a reject is about."""

    FILE = "file"
    IMAGE = "image"
    OBJECT = "object"
    PART = "part"
    POLYGON = "polygon"
    PAIR = "pair"  # a record of the bundle of the authors, or one entry of it


class Reason(StrEnum):
    """Why a record was refused."""

    # The codes are part of the format: `rejects.parquet` and the build manifest hold them as text,
    # so a code keeps its name once it is released.

    MALFORMED_RECORD = "malformed_record"  # a key is missing or has another type
    DUPLICATE_ID = "duplicate_id"  # the first record with an id counts
    UNKNOWN_IMAGE = "unknown_image"  # the annotation's image is not in the file
    OUTSIDE_VOCABULARY = "outside_vocabulary"  # sound, but the manifest leaves it out
    UNKNOWN_CATEGORY = "unknown_category"  # not in the file's categories or not in the taxonomy
    MISSING_MASK = "missing_mask"  # no segmentation, or no polygon left
    INVALID_MASK = "invalid_mask"  # an RLE that does not decode to its own size
    MASK_SIZE_MISMATCH = "mask_size_mismatch"  # an RLE of another size than its image
    EMPTY_MASK = "empty_mask"  # decodes to no pixel
    SHORT_POLYGON = "short_polygon"  # under 6 numbers
    INVALID_POLYGON = "invalid_polygon"  # not finite, not numbers, or far outside any image
    ORPHAN_PART = "orphan_part"  # its object is missing or rejected
    PART_CLASS_MISMATCH = "part_class_mismatch"  # its category belongs to another class
    IMAGE_REJECTED = "image_rejected"  # its image was refused
    UNSAFE_PATH = "unsafe_path"  # file_name leaves the source's folders
    MISSING_IMAGE = "missing_image"
    AMBIGUOUS_IMAGE = "ambiguous_image"  # two files fit, or another record fits the only one
    MISSING_ANNOTATION = "missing_annotation"  # listed, but its annotation file is not there
    UNREADABLE_IMAGE = "unreadable_image"
    SIZE_MISMATCH = "size_mismatch"  # the image's stored size is not the annotated one
    MISSING_PART_MAP = "missing_part_map"  # ADE: no readable 16-bit part PNG of the image's size
    UNREADABLE_OBJECT_MAP = "unreadable_object_map"  # whole or instance PNG unusable
    AMBIGUOUS_MAP = "ambiguous_map"  # two PNGs fit, or another image fits the only one
    UNKNOWN_DATASET = "unknown_dataset"  # bundle: `dataset_name` is not one of the three
    NOTHING_STATED = "nothing_stated"  # bundle: a record without objects, pairs or parts
    UNKNOWN_ANNOTATION = "unknown_annotation"  # bundle: an id that its image has no mask for
    CLASS_MISMATCH = "class_mismatch"  # bundle: the annotation's class is not the record's
    ORPHAN_PAIR = "orphan_pair"  # bundle: an object, or all parts, of a pair cannot be used
    CONTRADICTED = "contradicted"  # bundle: other records state other masks or parts of an object


LOST_MAPS = (Reason.MISSING_PART_MAP, Reason.UNREADABLE_OBJECT_MAP, Reason.AMBIGUOUS_MAP)
"""Reasons of level image that report a lost map; the image itself stays in."""


@dataclass(frozen=True, slots=True)
class Reject:
    """One refused record.

    Attributes:
        source: registered name of the reader.
        split: `train`, `validation` or `test`.
        file: the file with the record, relative to the source root, POSIX separators.
        record_id: upstream id as text, else the record's position in its list.
        level: what kind of record it is.
        reason: code of the fault.
        detail: the exact fault, for people.
    """

    source: str
    split: str
    file: str
    record_id: str
    level: Level
    reason: Reason
    detail: str = ""


class ObjectInstance(msgspec.Struct, frozen=True, gc=False):
    """One annotated object mask.

    Attributes:
        id: upstream annotation id as text, unique in its image.
        category: key of the class in the source's manifest (LVIS name, synset, ADE name).
        mask: visible pixels, in the size of the image.
    """

    id: str
    category: str
    mask: Rle


class PartInstance(msgspec.Struct, frozen=True, gc=False):
    """One annotated part mask.

    Attributes:
        id: upstream annotation id as text, unique in its image.
        object_id: `ObjectInstance.id` of the object it belongs to, in the same image.
        name: native name of the part in the manifest (`inner_body`, `Side Mirror`, `arm`).
        mask: visible pixels, in the size of the image; can lie partly outside of the object.
    """

    id: str
    object_id: str
    name: str
    mask: Rle


class ImageRecord(msgspec.Struct, frozen=True, gc=False):
    """One image with its annotated objects and parts, as a source has them.

    Attributes:
        source: registered name of the reader.
        split: `train`, `validation` or `test`.
        image_id: unique within the source: COCO id as text (PACO), file stem (PartImageNet, ADE).
        file_name: as the annotation file writes it.
        path: the image file, relative to the source root, POSIX separators.
        width, height: pixels of the stored grid.
        objects: usable objects.
        parts: usable parts; each belongs to one of `objects`.
        parts_known: false where the source has no usable part annotation for this image.
    """

    source: str
    split: str
    image_id: str
    file_name: str
    path: str
    width: int
    height: int
    objects: tuple[ObjectInstance, ...]
    parts: tuple[PartInstance, ...]
    parts_known: bool = True
