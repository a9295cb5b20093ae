"""Typed values that cross rooms: what a source reader yields and what it refuses.

Frame of coordinates: the stored pixel grid of the picture, x to the right, y down, EXIF
orientation not applied.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mixedparts.masks import Rle


class Task(StrEnum):
    """The three sub-tasks of part-focused semantic co-segmentation (CALICO, section 3)."""

    COMMON_OBJECT = "common_object"
    COMMON_PARTS = "common_parts"
    UNIQUE_PARTS = "unique_parts"


class Level(StrEnum):
    """What a reject refused."""

    FILE = "file"
    IMAGE = "image"
    OBJECT = "object"
    PART = "part"
    POLYGON = "polygon"
    PAIR = "pair"  # a record of the published bundle, or one entry of it


class Reason(StrEnum):
    """Why a record was refused. The codes are part of the tables' contract."""

    MALFORMED_RECORD = "malformed_record"  # a key is missing or holds another type
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
    MISSING_ANNOTATION = "missing_annotation"  # listed, but its annotation file is not there
    UNREADABLE_IMAGE = "unreadable_image"
    SIZE_MISMATCH = "size_mismatch"  # the picture's stored size is not the annotated one
    MISSING_PART_MAP = "missing_part_map"  # ADE: no readable 16-bit part PNG of the image's size
    UNREADABLE_OBJECT_MAP = "unreadable_object_map"  # whole or instance PNG unusable; what stood in
    UNKNOWN_DATASET = "unknown_dataset"  # bundle: a `dataset_name` that is none of the three
    NOTHING_STATED = "nothing_stated"  # bundle: a record without objects, pairs or parts
    UNKNOWN_ANNOTATION = "unknown_annotation"  # bundle: an id that its image has no mask for
    CLASS_MISMATCH = "class_mismatch"  # bundle: the annotation's class is not the record's
    ORPHAN_PAIR = "orphan_pair"  # bundle: an object, or all parts, of a pair cannot be used


@dataclass(frozen=True, slots=True)
class Reject:
    """One refused record.

    Attributes:
        file: the file that holds it, relative to the source root, POSIX separators.
        record_id: upstream id as text, else the record's position in its list.
        detail: what exactly was wrong, for people.
    """

    source: str
    split: str
    file: str
    record_id: str
    level: Level
    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ObjectInstance:
    """One annotated object mask.

    Attributes:
        id: upstream annotation id as text, unique in its image.
        category: key of the class in the source's manifest (LVIS name, synset, ADE name).
        mask: visible pixels, of the image's size.
    """

    id: str
    category: str
    mask: Rle


@dataclass(frozen=True, slots=True)
class PartInstance:
    """One annotated part mask.

    Attributes:
        object_id: `ObjectInstance.id` of the object it belongs to, in the same image.
        name: native name of the part in the manifest (`inner_body`, `Side Mirror`, `arm`).
    """

    id: str
    object_id: str
    name: str
    mask: Rle


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image with its annotated objects and parts, as a source has them.

    Attributes:
        image_id: unique within the source: COCO id as text (PACO), file stem (PartImageNet, ADE).
        file_name: as the annotation file writes it.
        path: the picture on disk, relative to the source root, POSIX separators.
        width, height: pixels of the stored grid.
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
