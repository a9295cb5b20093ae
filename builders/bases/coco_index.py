"""The index of a COCO-style file, which a reader needs before it reads one image of it.

A COCO file lists all images, and all annotations in any order. One pass decodes only ids and file
names. The index has the byte range of every record, the annotations of every image, and the
faults that need the whole file, such as duplicate ids: about 30 bytes an annotation. Masks and all
other values are decoded later, when a shard asks for their image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from builders.bases.index_cache import IndexCache, index_rules
from builders.formats.identifiers import Id, IdCodes, id_text, plain_codes
from builders.formats.json_file import UNREADABLE, JsonFile, decode_untyped
from mixedparts.errors import InputError
from mixedparts.files.opening import reason
from mixedparts.records import Reason
from mixedparts.storage.digest_cache import Stamp

ImageKey = Callable[[str, str], str]
"""Returns `image_id` for an upstream id (as text) and `file_name`; equal results are duplicates."""

FileKey = Callable[[str], str]
"""Returns what identifies the image file of a `file_name`; equal results are duplicates too."""


class Fault(NamedTuple):
    """Why a record is refused; `record_id` is its id as text, else its position in its list."""

    record_id: str
    reason: Reason
    detail: str


class Category(msgspec.Struct, frozen=True):
    """One entry of the categories block; a missing name is empty."""

    id: Id
    name: str = ""
    supercategory: str = ""


# Decoders of single fields: msgspec skips all other keys of a record without creating objects.
class _ImageHead(msgspec.Struct):
    id: Id
    file_name: str = ""


class _AnnotationHead(msgspec.Struct, gc=False):
    id: Id
    image_id: Id


_image_head = msgspec.json.Decoder(_ImageHead)
_annotation_head = msgspec.json.Decoder(_AnnotationHead)
_category = msgspec.json.Decoder(Category)


class _Values(msgspec.Struct, frozen=True):
    """What an index has beside its arrays; see the attributes of `CocoIndex`."""

    categories: dict[str, Category]
    category_faults: tuple[Fault, ...]
    first_images: dict[int, int]
    first_files: dict[int, int]


# Annotations whose ids are decoded together.
_CHUNK = 10_000


class CocoIndex:
    """The records of one file, grouped by image, and the faults that need the whole file.

    Args:
        path: the file.
        image_key: returns the `image_id` of an image record.
        file_key: returns what identifies its image file.
        cache: where the index may be stored; None makes it anew.

    Attributes:
        file: the mapped file.
        images, annotations: byte ranges of the records.
        categories: id as text -> category; the first entry of an id counts.
        category_faults: entries of the categories block that are refused.
        first_images: position of every image record but the first of an id -> position of that
            first record.
        first_files: likewise, for further records of an image file under other ids.
        duplicate_annotations: (n,) bool, true for every record of an id but the first.
        strays: positions of annotations that name no image of the file, ascending.

    Raises:
        InputError: the file cannot be read as a COCO file.
    """

    def __init__(
        self, path: Path, image_key: ImageKey, file_key: FileKey, cache: IndexCache | None = None
    ) -> None:
        self.file = JsonFile(path)
        stored = None if cache is None else cache.load(_Values)
        if stored is None:
            stored = self._index(image_key, file_key)
            # Where literals were blanked, a later process has to do the same.
            if cache is not None and not self.file.patched:
                cache.store(*stored)
        arrays, values = stored
        self.images = self.file.records_at(arrays["images"])
        self.annotations = self.file.records_at(arrays["annotations"])
        self.categories, self.category_faults = values.categories, values.category_faults
        self.first_images, self.first_files = values.first_images, values.first_files
        self.duplicate_annotations = arrays["duplicates"]
        self._order, self._bounds = arrays["order"], arrays["bounds"]
        self.strays = self._order[: self._bounds[0]]
        self.file.release()

    def _index(
        self, image_key: ImageKey, file_key: FileKey
    ) -> tuple[dict[str, NDArray[Any]], _Values]:
        """Return the arrays and the other values of the index of the file."""
        lists = self.file.lists()
        # Shared by images and annotations, so that equal ids get equal codes.
        codes = IdCodes()
        categories, faults = _categories(lists.categories)
        position_of, first_images, first_files = _read_images(
            lists.images, codes, image_key, file_key
        )
        owners, duplicates = _read_annotations(lists.annotations, IdCodes(), codes, position_of)
        # Annotations sorted by the position of their image; the stable sort keeps the order of the
        # file within an image. Those of image i are `order[bounds[i]:bounds[i + 1]]`, and those
        # without an image (-1) come before `bounds[0]`.
        order = np.argsort(owners, kind="stable").astype(np.int32)
        images = np.arange(len(lists.images) + 1)
        arrays: dict[str, NDArray[Any]] = {
            "images": self.file.ranges(lists.images),
            "annotations": self.file.ranges(lists.annotations),
            "order": order,
            "bounds": np.searchsorted(owners[order], images, side="left"),
            "duplicates": duplicates,
        }
        return arrays, _Values(categories, faults, first_images, first_files)

    def annotations_of(self, image: int) -> NDArray[np.int32]:
        """Return the positions of an image's annotations, in file order."""
        return self._order[self._bounds[image] : self._bounds[image + 1]]

    def image_label(self, position: int) -> str:
        """Return id and `file_name` of an image record, for people."""
        head = _head_of(self.images.raw(position))
        return f"{id_text(head.id)} ({head.file_name})" if head.file_name else f"{id_text(head.id)}"

    def namesakes(self, name: str) -> Iterator[tuple[str, str]]:
        """Yield id and `file_name` of every image whose file has this name, but for its suffix.

        Folders do not count, nor does the case of letters.
        """
        positions = {p for key in _name_keys(name) for p in self._positions_of_names.get(key, ())}
        for position in sorted(positions):
            head = _head_of(self.images.raw(position))
            yield id_text(head.id) or str(position), head.file_name

    # Computed on demand: only a search that leaves the exact place of a file needs it.
    @cached_property
    def _positions_of_names(self) -> dict[str, list[int]]:
        positions: dict[str, list[int]] = {}
        for position in range(len(self.images)):
            head = _head_of(self.images.raw(position))
            for key in _name_keys(head.file_name):
                positions.setdefault(key, []).append(position)
        return positions

    def stray_faults(self) -> Iterator[tuple[int, Fault]]:
        """Yield position and fault of every annotation that belongs to no image of the file."""
        for position in self.strays:
            raw = self.annotations.raw(position)
            try:
                head = _annotation_head.decode(raw)
            except UNREADABLE as error:
                yield int(position), malformed(raw, int(position), error)
                continue
            record_id, image_id = id_text(head.id), id_text(head.image_id)
            if record_id is None or image_id is None:
                yield int(position), malformed(raw, int(position), "id or image_id is not an id")
            elif self.duplicate_annotations[position]:
                yield int(position), Fault(record_id, Reason.DUPLICATE_ID, "annotation id seen")
            else:
                detail = f"no image has the id {image_id}"
                yield int(position), Fault(record_id, Reason.UNKNOWN_IMAGE, detail)


def malformed(raw: memoryview | msgspec.Raw, position: int, why: Exception | str) -> Fault:
    """Return the fault of a record that does not decode.

    Args:
        raw: the record as JSON.
        position: its position in its list.
        why: the error of the decoder, or a sentence for people.

    Returns:
        A fault with the id of the record if that can be read, else its position.
    """
    try:
        content = decode_untyped(raw)
        record_id = id_text(content.get("id")) if isinstance(content, dict) else None
    except ValueError:
        record_id = None
    return Fault(record_id or str(position), Reason.MALFORMED_RECORD, str(why))


def _name_keys(file_name: str) -> set[str]:
    """Return the last component of a file name, and the same without its suffix."""
    last = file_name.rpartition("/")[2].casefold()
    stem, _, suffix = last.rpartition(".")
    # `frame.0001` ends with a number, not with a suffix.
    return {last, stem} if stem and not suffix.isdigit() else {last}


def plain_path(file_name: str) -> str:
    """Return a file name without `.` and empty components."""
    odd = "//" in file_name or "./" in file_name
    return str(PurePosixPath(file_name)) if odd else file_name


def open_index(path: Path, image_key: ImageKey, file_key: FileKey = plain_path) -> CocoIndex:
    """Return the index of a file, from the last two files of this process if unchanged.

    Args:
        path: the file.
        image_key: returns the `image_id` of an image record.
        file_key: returns what identifies its image file.

    Returns:
        The index.

    Raises:
        InputError: the file is missing, unreadable or not a COCO-style file.
    """
    try:
        status = path.stat()
    except OSError as error:
        hint = "Check --root and the source's layout."
        raise InputError(f"{path} {reason(path, error)}", hint) from None
    return _cached_index(path, image_key, file_key, Stamp.of(status))


# The stamp is part of the key, so a file that has changed is read again. A process
# reads the shards of one file after the other; two entries are for a bundle, which has objects and
# parts of the same images in two files.
@lru_cache(maxsize=2)
def _cached_index(path: Path, image_key: ImageKey, file_key: FileKey, stamp: Stamp) -> CocoIndex:
    rules = index_rules(image_key, file_key)
    cache = None if rules is None else IndexCache(path, stamp, rules)
    return CocoIndex(path, image_key, file_key, cache)


def _categories(raws: list[msgspec.Raw]) -> tuple[dict[str, Category], tuple[Fault, ...]]:
    categories: dict[str, Category] = {}
    faults = []
    for position, raw in enumerate(raws):
        try:
            category = _category.decode(raw)
        except UNREADABLE as error:
            faults.append(malformed(raw, position, f"category: {error}"))
            continue
        text = id_text(category.id)
        if text is None:
            faults.append(malformed(raw, position, "category: its id is not an id"))
        elif text in categories:
            faults.append(Fault(text, Reason.DUPLICATE_ID, f"category '{category.name}'"))
        else:
            categories[text] = category
    return categories, tuple(faults)


def _read_images(
    raws: list[msgspec.Raw], codes: IdCodes, image_key: ImageKey, file_key: FileKey
) -> tuple[dict[int, int], dict[int, int], dict[int, int]]:
    """Return code of id -> position of its first record, and `first_images` and `first_files`."""
    position_of: dict[int, int] = {}
    keys: dict[str, int] = {}
    files: dict[str, int] = {}
    first_images: dict[int, int] = {}
    first_files: dict[int, int] = {}
    for position, raw in enumerate(raws):
        head = _head_of(raw)
        code = codes.code(head.id)
        if code is None:
            continue
        first = position_of.setdefault(code, position)
        if head.file_name:
            # Two ids with the same `image_id` are duplicates as well: readers that use the file
            # name would yield two images of one id.
            key = image_key(id_text(head.id) or "", head.file_name)
            first = min(first, keys.setdefault(key, position))
            # A duplicate is not used, so the file is still free for a record after it.
            if first == position:
                of_file = files.setdefault(file_key(head.file_name), position)
                if of_file != position:
                    first_files[position] = of_file
        if first != position:
            first_images[position] = first
    return position_of, first_images, first_files


def _head_of(raw: memoryview | msgspec.Raw) -> _ImageHead:
    """Return id and file name of an image record, empty where they cannot be read."""
    try:
        return _image_head.decode(raw)
    except UNREADABLE:
        return _loose_image_head(raw)


def _loose_image_head(raw: memoryview | msgspec.Raw) -> _ImageHead:
    """Return the id of a record that does not decode, "" if it has none."""
    # With the id, its annotations are rejected because of their image, not as annotations of an
    # unknown image.
    try:
        content = decode_untyped(raw)
    except ValueError:
        content = None
    value = content.get("id") if isinstance(content, dict) else None
    return _ImageHead(value if isinstance(value, (int, float, str)) else "")


def _read_annotations(
    raws: list[msgspec.Raw], own_codes: IdCodes, image_codes: IdCodes, position_of: dict[int, int]
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Return the image position of each annotation (-1: none), and which are duplicates."""
    owners = np.full(len(raws), -1, np.int32)
    ids = np.empty(len(raws), np.int64)
    readable = np.zeros(len(raws), np.bool_)
    for start in range(0, len(raws), _CHUNK):
        span = slice(start, start + _CHUNK)
        sound = _sound_ids(raws[span])
        if sound is not None:
            ids[span], readable[span] = sound[0], True
            owners[span] = [position_of.get(image, -1) for image in sound[1].tolist()]
            continue
        for position, raw in enumerate(raws[span], start):
            try:
                head = _annotation_head.decode(raw)
            except UNREADABLE:
                continue
            own, image = own_codes.code(head.id), image_codes.code(head.image_id)
            if own is None or image is None:
                continue
            ids[position], readable[position] = own, True
            owners[position] = position_of.get(image, -1)
    # Sorted by id, duplicates are neighbours and in file order: all but the first of equal ids are
    # late. A set of all ids would take several times the memory.
    positions = np.flatnonzero(readable)
    order = positions[np.argsort(ids[positions], kind="stable")]
    late = np.zeros(len(raws), np.bool_)
    late[order[1:][ids[order[1:]] == ids[order[:-1]]]] = True
    return owners, late


def _sound_ids(raws: list[msgspec.Raw]) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Return ids and image ids of annotations, None unless all are integers that are their code."""
    decode = _annotation_head.decode
    try:
        heads = [decode(raw) for raw in raws]
    except UNREADABLE:
        return None
    own = plain_codes([head.id for head in heads])
    images = plain_codes([head.image_id for head in heads])
    return None if own is None or images is None else (own, images)
