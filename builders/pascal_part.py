"""PASCAL-Part: one MATLAB file an image, with object silhouettes and part masks as arrays.

Source of the format: the dataset's readers (pascal-part-py, and the index table that comes with the
dataset). The pictures and the lists of train and validation images are those of PASCAL VOC 2010.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from builders.bases.file_source import FileSource, Refused, checked_image
from builders.formats.image_rejects import Picture, Refuser
from builders.formats.paths import first_present, safe_name
from builders.formats.segmentation import Refusal
from mixedparts import masks
from mixedparts.errors import EnvironmentFault, InputError
from mixedparts.masks import Rle
from mixedparts.records import ImageRecord, Level, ObjectInstance, PartInstance, Reason, Reject
from mixedparts.sources.contract import ReadShard
from mixedparts.sources.manifests import load_manifest

_VOC = "VOCdevkit/VOC2010"
_NOTES = ("PascalPart/Annotations_Part", "PascalPart/trainval/Annotations_Part")
_LISTS = {"train": "train", "validation": "val", "test": "val"}
_COUNTED = re.compile(r"_\d+\Z")  # engine_1, engine_2: instances of one part


class PascalPartSource(FileSource):
    """Reader of `Annotations_Part/*.mat`."""

    name = "pascal_part"
    version = "1"

    def layout(self, root: Path) -> str:
        """Return the tree of files that the source is looked for in."""
        return (
            f"{root}/\n"
            "  PascalPart/Annotations_Part/*.mat\n"
            f"  {_VOC}/ImageSets/Main/{{train,val}}.txt\n"
            f"  {_VOC}/JPEGImages/*.jpg"
        )

    def splits(self, root: Path) -> tuple[str, ...]:
        """Return the splits with a list; see `Source.splits`."""
        if not (root / _notes(root)).is_dir():
            return ()
        for needed in (f"{_VOC}/ImageSets/Main", f"{_VOC}/JPEGImages"):
            if not (root / needed).is_dir():
                raise InputError(
                    f"{self.name}: {root / _notes(root)} is there, "
                    f"but the folder {root / needed} is not",
                    f"Looked for:\n{self.layout(root)}",
                )
        return tuple(split for split in _LISTS if (root / _list(split)).is_file())

    def required_files(self, root: Path, split: str) -> tuple[str, ...]:
        """Return the folder of annotations, the list, and the pictures."""
        return (_notes(root), _list(split), f"{_VOC}/JPEGImages")

    def plan(self, root: Path, split: str, shard_images: int, variant: str) -> list[ReadShard]:
        """Divide a split into shards; see `Source.plan`.

        Raises:
            EnvironmentFault: SciPy, which reads MATLAB's files, is not installed.
        """
        _loadmat()
        return super().plan(root, split, shard_images, variant)

    def listing(self, root: Path, split: str) -> Sequence[str | Reject]:
        """Return the annotation file of each listed image; see `FileSource.listing`."""
        file = _list(split)
        try:
            lines = (root / file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"{root / file} cannot be read as a list of images: {error}",
                "Unpack VOC 2010 again; a line holds one name such as 2008_000002.",
            ) from None
        refuse = Refuser(self.name, split, file)
        found: list[str | Reject] = []
        seen: set[str] = set()
        for number, line in enumerate(lines, start=1):
            words = line.split()
            if not words:
                continue
            name = safe_name(words[0])  # lists of one class have a mark after the name
            if name is None or len(name.parts) > 1:
                detail = f"line {number}: {line!r} is no name of an image"
                found.append(refuse(Level.IMAGE, f"line {number}", Reason.UNSAFE_PATH, detail))
            elif name.name in seen:
                detail = f"line {number}: it was there before"
                found.append(refuse(Level.IMAGE, name.name, Reason.DUPLICATE_ID, detail))
            else:
                seen.add(name.name)
                found.append(f"{_notes(root)}/{name}.mat")
        if not seen:
            raise InputError(
                f"{root / file} names no image",
                "Unpack VOC 2010 again; a line holds one name such as 2008_000002.",
            )
        return found

    def read_file(self, root: Path, file: str, refuse: Refuser) -> Iterator[ImageRecord | Reject]:
        """Yield the record of one image, and a reject for every object and part not in it."""
        image_id = PurePosixPath(file).stem
        if not (root / file).is_file():
            listed = Refuser(self.name, refuse.split, _list(refuse.split))
            detail = f"{image_id} is listed, but there is no {file}"
            yield listed(Level.IMAGE, image_id, Reason.MISSING_ANNOTATION, detail)
            return
        entries = _objects(root / file)
        try:
            picture = _picture(root, image_id)
        except Refused as fault:
            yield refuse(Level.IMAGE, image_id, fault.reason, fault.detail)
            detail = f"image {image_id}: {fault.reason}"
            for number, entry in enumerate(entries):
                yield refuse(Level.OBJECT, str(number), Reason.IMAGE_REJECTED, detail)
                for at, _ in enumerate(_parts(entry)):
                    yield refuse(Level.PART, f"{number}:{at}", Reason.IMAGE_REJECTED, detail)
            return
        objects: list[ObjectInstance] = []
        parts: list[PartInstance] = []
        for number, entry in enumerate(entries):
            item = _object(entry, str(number), picture)
            if isinstance(item, Refusal):
                yield refuse(Level.OBJECT, str(number), *item)
            else:
                objects.append(item)
            for at, raw in enumerate(_parts(entry)):
                part = _part(raw, f"{number}:{at}", item, picture)
                if isinstance(part, Refusal):
                    yield refuse(Level.PART, f"{number}:{at}", *part)
                else:
                    parts.append(part)
        yield picture.record(refuse, objects, parts)


def _notes(root: Path) -> str:
    """Return the folder of annotations; the archive may unpack with a folder around it."""
    return next((folder for folder in _NOTES if (root / folder).is_dir()), _NOTES[0])


def _list(split: str) -> str:
    return f"{_VOC}/ImageSets/Main/{_LISTS[split]}.txt"


@cache
def _loadmat() -> Callable[..., dict[str, Any]]:
    """Return SciPy's reader of MATLAB files.

    Raises:
        EnvironmentFault: it is not installed.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise EnvironmentFault(
            f"pascal_part needs SciPy to read MATLAB's files ({error})",
            "pip install 'mixedparts[pascal]'",
        ) from None
    reader: Callable[..., dict[str, Any]] = loadmat
    return reader


def _objects(path: Path) -> list[Any]:
    """Return the entries of `anno.objects`.

    Raises:
        Refused: the file cannot be read, or is not such a file.
    """
    try:
        content = _loadmat()(path, simplify_cells=True)
    except Exception as error:  # a parser given broken bytes may raise anything
        why = (str(error) or type(error).__name__).replace(str(path), path.name)
        detail = f"{path.name} is no readable MATLAB file: {why}"
        raise Refused(Reason.MALFORMED_RECORD, detail) from None
    note = content.get("anno")
    if not isinstance(note, dict) or "objects" not in note:
        raise Refused(Reason.MALFORMED_RECORD, f"{path.name} has no 'anno.objects'")
    return _listed(note["objects"])


def _listed(value: Any) -> list[Any]:
    """Return MATLAB's arrays of structures as a list; one element stands there by itself."""
    if isinstance(value, np.ndarray):
        return list(value.ravel()) if value.dtype == object else [] if not value.size else [value]
    return value if isinstance(value, list) else [value]


def _parts(entry: Any) -> list[Any]:
    return _listed(entry["parts"]) if isinstance(entry, dict) and "parts" in entry else []


def _picture(root: Path, image_id: str) -> Picture:
    """Return the picture in its stored size, which the annotation does not say."""
    folder = f"{_VOC}/JPEGImages"
    path = first_present(root, (f"{folder}/{image_id}.jpg", f"{folder}/{image_id}.JPG"))
    try:
        with Image.open(root / path) as picture:
            width, height = picture.size
    except Exception:  # what ails it is told below
        width = height = 1
    name = PurePosixPath(path)
    return checked_image(root, image_id, name.name, name, width, height)


def _object(entry: Any, number: str, picture: Picture) -> ObjectInstance | Refusal:
    key = entry.get("class") if isinstance(entry, dict) else None
    if not isinstance(key, str) or not key:
        return Refusal(Reason.MALFORMED_RECORD, "an object without class")
    if key not in load_manifest("pascal_part").objects:
        return Refusal(Reason.UNKNOWN_CATEGORY, f"class {key!r}")
    mask = _mask(entry, picture)
    return mask if isinstance(mask, Refusal) else ObjectInstance(number, key, mask)


def _part(
    raw: Any, number: str, owner: ObjectInstance | Refusal, picture: Picture
) -> PartInstance | Refusal:
    name = raw.get("part_name") if isinstance(raw, dict) else None
    if not isinstance(name, str) or not name:
        return Refusal(Reason.MALFORMED_RECORD, "a part without part_name")
    if isinstance(owner, Refusal):
        return Refusal(Reason.ORPHAN_PART, f"its object: {owner.reason}")
    native = _COUNTED.sub("", name)
    by_class = _part_names()
    if native not in by_class[owner.category]:
        if any(native in names for names in by_class.values()):
            return Refusal(Reason.PART_CLASS_MISMATCH, f"{name} of {owner.category}")
        return Refusal(Reason.UNKNOWN_CATEGORY, f"part {name!r}")
    mask = _mask(raw, picture)
    return mask if isinstance(mask, Refusal) else PartInstance(number, owner.id, native, mask)


@cache
def _part_names() -> dict[str, frozenset[str]]:
    """Return class -> its native part names, without numbers."""
    objects = load_manifest("pascal_part").objects.values()
    return {item.key: frozenset(part.native for part in item.parts) for item in objects}


def _mask(entry: dict[str, Any], picture: Picture) -> Rle | Refusal:
    """Return the pixels of an array that are not zero."""
    values = entry.get("mask")
    if not isinstance(values, np.ndarray) or values.size == 0:
        return Refusal(Reason.MISSING_MASK, "no mask")
    if values.dtype.kind not in "buif":
        return Refusal(Reason.INVALID_MASK, f"a mask of {values.dtype}")
    if values.shape != (picture.height, picture.width):
        found = " x ".join(map(str, values.shape))
        detail = f"mask of {found}, its picture {picture.height} x {picture.width} (h, w)"
        return Refusal(Reason.MASK_SIZE_MISMATCH, detail)
    rle = masks.from_dense(values != 0)
    if masks.area(rle) == 0:
        return Refusal(Reason.EMPTY_MASK, "the mask has no pixel")
    return rle
