"""What the readers of COCO-style files share: splits, shards, image records, and the accounting.

Every image record becomes one `ImageRecord` or one reject of level image, and every annotation one
instance or one reject of level object or part. A reader adds what its format means.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import msgspec

from builders.bases.coco_index import CocoIndex, Fault, malformed, open_index
from builders.formats.identifiers import Id, id_text, whole
from builders.formats.image_rejects import MAX_PIXELS, Picture, Refuser
from builders.formats.json_file import UNREADABLE
from builders.formats.paths import first_present, is_resource_fork, safe_name
from mixedparts.errors import InputError, UsageError
from mixedparts.images.checks import check_image
from mixedparts.records import (
    ImageRecord,
    Level,
    Reason,
    Reject,
)
from mixedparts.sources.contract import SPLITS, ReadShard


@dataclass(frozen=True, slots=True)
class SplitFiles:
    """Where a split lies, relative to the source root.

    Attributes:
        annotations: its annotation file.
        folders: folders that must be there with it, maps before pictures.
        optional: folders and files that are read where they exist.
    """

    annotations: str
    folders: tuple[str, ...]
    optional: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Annotation:
    """A readable annotation of one image, its mask still as JSON."""

    id: str
    category_id: str
    link: Any
    segmentation: msgspec.Raw


class _ImageFields(msgspec.Struct):
    id: Id
    file_name: str
    width: int | float
    height: int | float


_image_fields = msgspec.json.Decoder(_ImageFields)


class CocoSource(ABC):
    """Base of the readers whose annotations lie in one COCO-style JSON file a split."""

    name: str
    version: str
    level: ClassVar[Level]
    """Level of an annotation that cannot be told to be an object or a part."""
    variants: ClassVar[tuple[str, ...]] = ("",)
    link_key: str = "obj_ann_id"
    """Key of a part's annotation under which the id of its object's stands."""

    @abstractmethod
    def layout(self, root: Path) -> str:
        """Return the tree of files that the source is looked for in."""

    @abstractmethod
    def files(self, root: Path, split: str) -> SplitFiles:
        """Say where a split lies."""

    @staticmethod
    @abstractmethod
    def image_key(record_id: str, file_name: str) -> str:
        """Return `image_id`."""

    @abstractmethod
    def picture_paths(self, split: str, name: PurePosixPath) -> Iterator[str]:
        """Yield where the picture may lie, relative to the root, likeliest first."""

    @abstractmethod
    def read_image(
        self,
        root: Path,
        index: CocoIndex,
        picture: Picture,
        annotations: Sequence[Annotation],
        refuse: Refuser,
    ) -> Iterator[ImageRecord | Reject]:
        """Yield the record of a usable picture, and a reject for each refused annotation."""

    def level_of(self, index: CocoIndex, annotation: Annotation) -> Level:
        """Tell what a readable annotation describes."""
        return self.level

    def selects(self, shard: ReadShard, image_id: str | None) -> bool:
        """Tell whether an image belongs to the shard's split; None: what belongs to no image."""
        return True

    def splits(self, root: Path) -> tuple[str, ...]:
        """Return the splits whose annotation file is there; see `Source.splits`."""
        found = []
        for split in SPLITS:
            files = self.files(root, split)
            if not files.annotations or not (root / files.annotations).exists():
                continue
            for folder in files.folders:
                if not (root / folder).is_dir():
                    raise InputError(
                        f"{self.name}: {root / files.annotations} is there, "
                        f"but its folder {root / folder} is not",
                        f"Looked for:\n{self.layout(root)}",
                    )
            found.append(split)
        return tuple(found)

    def required_files(self, root: Path, split: str) -> tuple[str, ...]:
        """Return what a split is read from; see `Source.required_files`."""
        files = self.files(root, split)
        there = tuple(path for path in files.optional if (root / path).exists())
        return (files.annotations, *there, *files.folders)

    def plan(self, root: Path, split: str, shard_images: int, variant: str) -> list[ReadShard]:
        """Divide a split into shards; see `Source.plan`."""
        if variant not in self.variants:
            known = ", ".join(f"'{item}'" for item in self.variants)
            raise UsageError(f"{self.name} has no variant '{variant}'", f"It has: {known}")
        if split not in SPLITS or not (file := self.files(root, split).annotations):
            raise UsageError(f"{self.name} has no split '{split}'", f"Splits: {', '.join(SPLITS)}")
        if shard_images < 1:
            raise UsageError(f"a shard of {shard_images} images is not possible", "Use 1 or more")
        total = len(open_index(root / file, self.image_key).images)
        return [
            ReadShard(
                self.name, split, str(root), file, start, min(start + shard_images, total), variant
            )
            for start in range(0, max(total, 1), shard_images)
        ]

    def read(self, shard: ReadShard) -> Iterator[ImageRecord | Reject]:
        """Yield the records and rejects of a shard; see `Source.read`."""
        root = Path(shard.root)
        index = open_index(root / shard.file, self.image_key)
        refuse = Refuser(self.name, shard.split, shard.file)
        if shard.start == 0 and self.selects(shard, None):
            yield from self._belonging_to_no_image(index, refuse)
        for position in range(shard.start, min(shard.stop, len(index.images))):
            outcome, image_id = self._judge_image(root, shard.split, index, position)
            if not self.selects(shard, image_id):
                continue
            if isinstance(outcome, Picture):
                outcome = _check(root, outcome)
            annotations = []
            for item in self._annotations(index, position, refuse):
                if isinstance(item, Reject):
                    yield item
                else:
                    annotations.append(item)
            if isinstance(outcome, Picture):
                yield from self.read_image(root, index, outcome, annotations, refuse)
                continue
            yield refuse(Level.IMAGE, *outcome)
            for annotation in annotations:
                level = self.level_of(index, annotation)
                detail = f"image {outcome.record_id}: {outcome.reason}"
                yield refuse(level, annotation.id, Reason.IMAGE_REJECTED, detail)
        index.file.release()

    def _judge_image(
        self, root: Path, split: str, index: CocoIndex, position: int
    ) -> tuple[Picture | Fault, str | None]:
        """Return the picture or its fault, and its image id where the record has one."""
        raw = index.images.raw(position)
        try:
            fields = _image_fields.decode(raw)
        except UNREADABLE as error:
            return malformed(raw, position, error), None
        record_id = id_text(fields.id)
        if record_id is None or not fields.file_name:
            return malformed(raw, position, "id or file_name is empty"), None
        image_id = self.image_key(record_id, fields.file_name)
        if index.duplicate_images[position]:
            detail = f"image {image_id} was there before"
            return Fault(record_id, Reason.DUPLICATE_ID, detail), image_id
        width, height = whole(fields.width) or 0, whole(fields.height) or 0
        if min(width, height) < 1 or width * height >= MAX_PIXELS:
            detail = f"{fields.width} x {fields.height} is no size of an image"
            return Fault(record_id, Reason.MALFORMED_RECORD, detail), image_id
        name = safe_name(fields.file_name)
        if name is None:
            return Fault(record_id, Reason.UNSAFE_PATH, repr(fields.file_name)), image_id
        if is_resource_fork(name):
            detail = f"{name} is no picture but a file that an archiver added"
            return Fault(record_id, Reason.MISSING_IMAGE, detail), image_id
        path = first_present(root, self.picture_paths(split, name))
        picture = Picture(record_id, image_id, fields.file_name, name, path, width, height)
        return picture, image_id

    def _annotations(
        self, index: CocoIndex, image: int, refuse: Refuser
    ) -> Iterator[Annotation | Reject]:
        for position in index.annotations_of(image):
            item = _annotation(index.annotations.raw(position), int(position), self.link_key)
            if isinstance(item, Fault):
                yield refuse(self.level, *item)
            elif index.duplicate_annotations[position]:
                level = self.level_of(index, item)
                yield refuse(level, item.id, Reason.DUPLICATE_ID, "an annotation had it before")
            else:
                yield item

    def _belonging_to_no_image(self, index: CocoIndex, refuse: Refuser) -> Iterator[Reject]:
        for fault in index.category_faults:
            yield refuse(Level.FILE, *fault)
        for position, fault in index.stray_faults():
            item = _annotation(index.annotations.raw(position), position, self.link_key)
            level = self.level if isinstance(item, Fault) else self.level_of(index, item)
            yield refuse(level, *fault)


def _check(root: Path, picture: Picture) -> Picture | Fault:
    fault = check_image(root / picture.path, picture.width, picture.height)
    return picture if fault is None else Fault(picture.record_id, *fault)


@cache
def _annotation_fields(link_key: str) -> msgspec.json.Decoder[Any]:
    """Return what decodes an annotation whose link to its object stands under `link_key`."""
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = [
        ("id", Id),
        ("image_id", Id),
        ("category_id", Id),
        ("segmentation", msgspec.Raw, msgspec.Raw(b"null")),
        ("link", Any, None),
    ]
    return msgspec.json.Decoder(
        msgspec.defstruct("_AnnotationFields", fields, rename={"link": link_key})
    )


def _annotation(raw: memoryview, position: int, link_key: str) -> Annotation | Fault:
    try:
        fields = _annotation_fields(link_key).decode(raw)
    except UNREADABLE as error:
        return malformed(raw, position, error)
    record_id, category_id = id_text(fields.id), id_text(fields.category_id)
    if record_id is None or category_id is None:
        return malformed(raw, position, "id or category_id is no id")
    return Annotation(record_id, category_id, fields.link, fields.segmentation)
