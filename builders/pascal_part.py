"""PASCAL-Part: one MATLAB file an image, with object silhouettes and part masks as arrays.

Source of the format: readers of the dataset (pascal-part-py, and the index table that comes with
it). The images and the lists of train and validation images are those of PASCAL VOC 2010.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from builders.bases.file_source import FileSource, UnusableImage, checked_image
from builders.formats.image_rejects import ImageHeader, Refuser
from builders.formats.paths import Places, find_file, safe_name
from builders.formats.segmentation import Refusal
from mixedparts import masks
from mixedparts.errors import InputError, missing_package
from mixedparts.files.opening import check_unpacked, is_there, open_file
from mixedparts.files.text import read_lines
from mixedparts.images.opening import stored_size
from mixedparts.masks import Rle
from mixedparts.records import ImageRecord, Level, ObjectInstance, PartInstance, Reason, Reject
from mixedparts.sources.contract import ReadShard
from mixedparts.sources.manifests import load_manifest

_VOC = "VOCdevkit/VOC2010"
_ANNOTATION_FOLDERS = ("PascalPart/Annotations_Part", "PascalPart/trainval/Annotations_Part")
_LISTS = {"train": "train", "validation": "val", "test": "val"}
# `engine_1`, `engine_2` are instances of one part.
_COUNTED = re.compile(r"_\d+\Z")


class PascalPartSource(FileSource):
    """Reader of `Annotations_Part/*.mat`."""

    name = "pascal_part"
    version = "1"

    def layout(self, root: Path) -> str:
        """Return the tree of files that the reader expects, as lines of text."""
        return (
            f"{root}/\n"
            "  PascalPart/Annotations_Part/*.mat\n"
            f"  {_VOC}/ImageSets/Main/{{train,val}}.txt\n"
            f"  {_VOC}/JPEGImages/*.jpg"
        )

    def splits(self, root: Path) -> tuple[str, ...]:
        """Return the splits with a list of images; see `Source.splits`.

        Raises:
            InputError: the annotations exist, but a folder of VOC 2010 does not.
        """
        # The two come from different downloads, so one of them without the other is a likely error.
        if not (root / _annotation_folder(root)).is_dir():
            return ()
        for needed in (f"{_VOC}/ImageSets/Main", f"{_VOC}/JPEGImages"):
            if not (root / needed).is_dir():
                raise InputError(
                    f"{self.name}: {root / _annotation_folder(root)} is there, "
                    f"but the folder {root / needed} is not",
                    f"Looked for:\n{self.layout(root)}",
                )
        return tuple(split for split in _LISTS if is_there(root / _list(split)))

    def required_files(self, root: Path, split: str) -> tuple[str, ...]:
        """Return the annotation folder, the list of images, and the image folder."""
        return (_annotation_folder(root), _list(split), f"{_VOC}/JPEGImages")

    def image_folders(self, root: Path, split: str) -> tuple[str, ...]:
        """Return the folder of images; see `SeparatesImages.image_folders`."""
        return (f"{_VOC}/JPEGImages",)

    def plan(self, root: Path, split: str, shard_images: int, variant: str) -> list[ReadShard]:
        """Divide a split into shards; see `Source.plan`.

        Args:
            root: folder that the source's layout starts from.
            split: `train`, `validation` or `test`.
            shard_images: most annotation files in a shard.
            variant: one of `variants`.

        Returns:
            The shards in the order of the list.

        Raises:
            EnvironmentFault: SciPy, which reads MATLAB files, is not installed.
            InputError: the list of the images is missing or unreadable.
            UsageError: the source has no such split or variant, or `shard_images` is below 1.
        """
        # Before any work starts, not in the first worker process.
        _loadmat()
        return super().plan(root, split, shard_images, variant)

    def listing(self, root: Path, split: str) -> Sequence[str | Reject]:
        """Return the annotation file of each listed image; see `FileSource.listing`.

        Raises:
            InputError: the list is missing, unreadable or empty.
        """
        file = _list(split)
        hint = "Unpack VOC 2010 again; each line is one name such as 2008_000002."
        lines = read_lines(root / file, "the list of images", hint)
        refuse = Refuser(self.name, split, file)
        entries: list[str | Reject] = []
        seen: dict[str, int] = {}  # name -> its first line
        for number, line in enumerate(lines, start=1):
            words = line.split()
            if not words:
                continue
            # In the lists of a class, a mark follows the name.
            name = safe_name(words[0])
            if name is None or len(name.parts) > 1:
                detail = f"line {number}: {line!r} is not the name of an image"
                entries.append(refuse(Level.IMAGE, f"line {number}", Reason.UNSAFE_PATH, detail))
            elif name.name in seen:
                detail = f"line {number}: {name} was there before, in line {seen[name.name]}"
                entries.append(refuse(Level.IMAGE, name.name, Reason.DUPLICATE_ID, detail))
            else:
                seen[name.name] = number
                entries.append(f"{_annotation_folder(root)}/{name}.mat")
        if not seen:
            raise InputError(f"{root / file} names no image", hint)
        return entries

    def read_file(self, root: Path, file: str, refuse: Refuser) -> Iterator[ImageRecord | Reject]:
        """Yield the record of one image, and a reject for every object and part refused.

        Args:
            root: folder that the source's layout starts from.
            file: the MATLAB file, relative to `root`.
            refuse: creates the rejects.

        Yields:
            Rejects, then the `ImageRecord` of a usable image.

        Raises:
            UnusableImage: the MATLAB file cannot be read.
        """
        image_id = PurePosixPath(file).stem
        if not (root / file).is_file():
            # The list has the fault: the annotation file that a reject would name does not exist.
            refuse_entry = Refuser(self.name, refuse.split, _list(refuse.split))
            detail = f"{image_id} is listed, but there is no {file}"
            yield refuse_entry(Level.IMAGE, image_id, Reason.MISSING_ANNOTATION, detail)
            return
        entries = _objects(root / file)
        try:
            header = _header(root, image_id)
        except UnusableImage as fault:
            yield refuse(Level.IMAGE, image_id, fault.reason, fault.detail)
            detail = f"image {image_id}: {fault.reason}"
            for number, entry in enumerate(entries):
                yield refuse(Level.OBJECT, str(number), Reason.IMAGE_REJECTED, detail)
                for at, _ in enumerate(_parts(entry)):
                    yield refuse(Level.PART, f"{number}:{at}", Reason.IMAGE_REJECTED, detail)
            return
        objects: list[ObjectInstance] = []
        parts: list[PartInstance] = []
        # Upstream has no ids: the position of an object, and of a part in it, are their ids.
        for number, entry in enumerate(entries):
            item = _object(entry, str(number), header)
            if isinstance(item, Refusal):
                yield refuse(Level.OBJECT, str(number), *item)
            else:
                objects.append(item)
            for at, raw in enumerate(_parts(entry)):
                part = _part(raw, f"{number}:{at}", item, header)
                if isinstance(part, Refusal):
                    yield refuse(Level.PART, f"{number}:{at}", *part)
                else:
                    parts.append(part)
        yield header.record(refuse, objects, parts)


def _annotation_folder(root: Path) -> str:
    """Return the annotation folder; the archive may unpack with a folder around it."""
    present = (folder for folder in _ANNOTATION_FOLDERS if (root / folder).is_dir())
    return next(present, _ANNOTATION_FOLDERS[0])


def _list(split: str) -> str:
    return f"{_VOC}/ImageSets/Main/{_LISTS[split]}.txt"


@cache
def _loadmat() -> Callable[..., dict[str, Any]]:
    """Return the function of SciPy that reads MATLAB files.

    Raises:
        EnvironmentFault: it is not installed.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise missing_package(error, "the source pascal_part", "pascal") or error from None
    reader: Callable[..., dict[str, Any]] = loadmat
    return reader


def _objects(path: Path) -> list[Any]:
    """Return the entries of `anno.objects`.

    Raises:
        UnusableImage: the file cannot be read, or has another structure.
    """
    try:
        content = _loadmat()(path, simplify_cells=True)
    # On broken bytes a parser may raise any error.
    except Exception as error:
        detail = f"{path.name} is not a readable MATLAB file: {str(error) or type(error).__name__}"
        try:
            check_unpacked(path)
        except InputError as fault:
            detail = fault.message
        # Rejects name files relative to the source's folder.
        raise UnusableImage(Reason.MALFORMED_RECORD, detail.replace(str(path), path.name)) from None
    annotation = content.get("anno")
    if not isinstance(annotation, dict) or "objects" not in annotation:
        raise UnusableImage(Reason.MALFORMED_RECORD, f"{path.name} has no 'anno.objects'")
    return _listed(annotation["objects"])


def _listed(value: Any) -> list[Any]:
    """Return an array of MATLAB structures as a list."""
    # SciPy simplifies an array of one structure to the structure, and [] to an empty float array.
    if isinstance(value, np.ndarray):
        return list(value.ravel()) if value.dtype == object else [] if not value.size else [value]
    return value if isinstance(value, list) else [value]


def _parts(entry: Any) -> list[Any]:
    """Return the parts of an entry of `anno.objects`; none if the entry is broken."""
    return _listed(entry["parts"]) if isinstance(entry, dict) and "parts" in entry else []


def _header(root: Path, image_id: str) -> ImageHeader:
    """Return the header of an image; raise UnusableImage if the file cannot be used."""
    # The annotation has no size, so the size is read from the image; masks must match it.
    folder = f"{_VOC}/JPEGImages"
    places = Places(f"{folder}/{image_id}.jpg", (f"{folder}/{image_id}.JPG",))
    path = find_file(root, places).path
    try:
        with open_file(root / path) as file:
            width, height = stored_size(file.read())
    # `checked_image` opens the file again and reports its fault.
    except (InputError, OSError, ValueError):
        width = height = 1
    name = PurePosixPath(path)
    return checked_image(root, image_id, name.name, name, width, height)


def _object(entry: Any, number: str, header: ImageHeader) -> ObjectInstance | Refusal:
    """Return an object, or why it is refused; `number` is its id."""
    key = entry.get("class") if isinstance(entry, dict) else None
    if not isinstance(key, str) or not key:
        return Refusal(Reason.MALFORMED_RECORD, "an object without class")
    if key not in load_manifest("pascal_part").objects:
        return Refusal(Reason.UNKNOWN_CATEGORY, f"class {key!r}")
    mask = _mask(entry, header)
    return mask if isinstance(mask, Refusal) else ObjectInstance(number, key, mask)


def _part(
    raw: Any, number: str, owner: ObjectInstance | Refusal, header: ImageHeader
) -> PartInstance | Refusal:
    """Return a part of `owner`, or why it is refused; `number` is its id."""
    name = raw.get("part_name") if isinstance(raw, dict) else None
    if not isinstance(name, str) or not name:
        return Refusal(Reason.MALFORMED_RECORD, "a part without part_name")
    if isinstance(owner, Refusal):
        return Refusal(Reason.ORPHAN_PART, f"its object: {owner.reason}")
    native = _COUNTED.sub("", name)
    by_class = _part_names()
    if native not in by_class[owner.category]:
        # Known to another class: the file is wrong. Unknown to all: the manifest lacks it.
        if any(native in names for names in by_class.values()):
            return Refusal(Reason.PART_CLASS_MISMATCH, f"{name} of {owner.category}")
        return Refusal(Reason.UNKNOWN_CATEGORY, f"part {name!r}")
    mask = _mask(raw, header)
    return mask if isinstance(mask, Refusal) else PartInstance(number, owner.id, native, mask)


@cache
def _part_names() -> dict[str, frozenset[str]]:
    """Return class -> native names of its parts, without numbers of instances."""
    objects = load_manifest("pascal_part").objects.values()
    return {item.key: frozenset(part.native for part in item.parts) for item in objects}


def _mask(entry: dict[str, Any], header: ImageHeader) -> Rle | Refusal:
    """Return the mask of an entry (its non-zero pixels), or why it is refused."""
    values = entry.get("mask")
    if not isinstance(values, np.ndarray) or values.size == 0:
        return Refusal(Reason.MISSING_MASK, "no mask")
    # Booleans, integers and floats; text or nested structures are not masks.
    if values.dtype.kind not in "buif":
        return Refusal(Reason.INVALID_MASK, f"a mask of {values.dtype}")
    if values.shape != (header.height, header.width):
        size = " x ".join(map(str, values.shape))
        detail = f"mask of {size}, its image {header.height} x {header.width} (h, w)"
        return Refusal(Reason.MASK_SIZE_MISMATCH, detail)
    rle = masks.from_dense(values != 0)
    if masks.is_empty(rle):
        return Refusal(Reason.EMPTY_MASK, "the mask has no pixel")
    return rle
