"""Base class of the readers of COCO-style files: splits, shards, image records, accounting.

Every image record becomes one `ImageRecord` or one reject of level image, and every annotation one
instance or one reject of level object or part. A subclass adds the meaning of its format.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import ClassVar

import msgspec
import numpy as np

from builders.bases.coco_annotations import (
    UNREAD,
    Annotation,
    Columns,
    Fields,
    UnreadImage,
    annotation_of,
    annotations_of,
    with_masks,
)
from builders.bases.coco_index import CocoIndex, Fault, malformed, open_index, plain_path
from builders.bases.look_up import locate
from builders.bases.sharded_source import ShardedSource
from builders.formats.identifiers import Id, id_text, whole_number
from builders.formats.image_rejects import ImageHeader, Refuser, image_fault
from builders.formats.json_file import UNREADABLE
from builders.formats.paths import Places, is_resource_fork, safe_name
from mixedparts.errors import InputError
from mixedparts.files.opening import is_there
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
    """The files and folders of a split, relative to the source root.

    Attributes:
        annotations: its annotation file; empty if the source does not have the split.
        images: folders of images, which must exist with it.
        optional: other folders and files that are read if they exist.
        maps: folders of segmentation maps, which must exist with it.
    """

    annotations: str
    images: tuple[str, ...]
    optional: tuple[str, ...] = ()
    maps: tuple[str, ...] = ()


# Images whose masks are read together: enough to make the fixed cost of a call small, and few
# enough to stay in the processor's cache.
_CHUNK = 32


class _ImageFields(msgspec.Struct):
    id: Id
    file_name: str
    width: int | float
    height: int | float


_image_fields = msgspec.json.Decoder(_ImageFields)


class CocoSource(ShardedSource):
    """Base of the readers with one COCO-style JSON file a split."""

    level: ClassVar[Level]
    """Level of an annotation that may be an object or a part."""
    link_key: str = "obj_ann_id"
    """Key under which the annotation of a part has the id of the annotation of its object."""

    @abstractmethod
    def layout(self, root: Path) -> str:
        """Return the tree of files that the reader expects, as lines of text."""

    @abstractmethod
    def files(self, root: Path, split: str) -> SplitFiles:
        """Return the files and folders of a split."""

    @staticmethod
    @abstractmethod
    def image_key(record_id: str, file_name: str) -> str:
        """Return the `image_id` of an image record."""

    @staticmethod
    def file_key(file_name: str) -> str:
        """Return what identifies the image file of a record; two records must not share it."""
        return plain_path(file_name)

    @abstractmethod
    def picture_places(self, split: str, name: PurePosixPath) -> Places:
        """Return the places where an image may be, relative to the root."""

    @abstractmethod
    def read_image(
        self,
        root: Path,
        index: CocoIndex,
        header: ImageHeader,
        annotations: Sequence[Annotation],
        refuse: Refuser,
    ) -> Iterator[ImageRecord | Reject]:
        """Yield the record of a usable image, and a reject for each refused annotation.

        Args:
            root: folder that the source's layout starts from.
            index: index of the annotation file.
            header: the image.
            annotations: its readable annotations, in file order.
            refuse: creates the rejects.

        Yields:
            Rejects in any order, and exactly one `ImageRecord`.
        """

    def level_of(self, index: CocoIndex, annotation: Annotation) -> Level:
        """Return whether a readable annotation is an object or a part."""
        return self.level

    def selects(self, shard: ReadShard, image_id: str | None) -> bool:
        """Return whether an image is in the split of a shard.

        For an `image_id` of None: whether rejects that belong to no image are in it.
        """
        return True

    def splits(self, root: Path) -> tuple[str, ...]:
        """Return the splits whose annotation file exists; see `Source.splits`.

        Raises:
            InputError: an annotation file exists, but one of its folders does not.
        """
        present = []
        for split in SPLITS:
            files = self.files(root, split)
            if not files.annotations or not is_there(root / files.annotations):
                continue
            for folder in (*files.maps, *files.images):
                if not (root / folder).is_dir():
                    raise InputError(
                        f"{self.name}: {root / files.annotations} is there, "
                        f"but its folder {root / folder} is not",
                        f"Looked for:\n{self.layout(root)}",
                    )
            present.append(split)
        return tuple(present)

    def required_files(self, root: Path, split: str) -> tuple[str, ...]:
        """Return the files and folders of a split; see `Source.required_files`."""
        files = self.files(root, split)
        optional = tuple(path for path in files.optional if is_there(root / path))
        return (files.annotations, *optional, *files.maps, *files.images)

    def image_folders(self, root: Path, split: str) -> tuple[str, ...]:
        """Return the folders of images of a split; see `SeparatesImages.image_folders`."""
        return self.files(root, split).images

    def entries(self, root: Path, split: str) -> tuple[str, int] | None:
        """Return the annotation file and the number of its image records.

        Raises:
            InputError: the annotation file cannot be read as a whole.
        """
        file = self.files(root, split).annotations
        return (file, len(self.open_index(root / file).images)) if file else None

    def open_index(self, path: Path) -> CocoIndex:
        """Return the index of an annotation file.

        Raises:
            InputError: the annotation file cannot be read as a whole.
        """
        return open_index(path, self.image_key, self.file_key)

    def level_by_link(self, annotation: Annotation) -> Level:
        """Return the level of an annotation by its link to another annotation alone."""
        # In PACO an object links to itself.
        linked = annotation.link is not None and id_text(annotation.link) != annotation.id
        return Level.PART if linked else Level.OBJECT

    def read(self, shard: ReadShard) -> Iterator[ImageRecord | Reject]:
        """Yield the records and rejects of a shard; see `Source.read`."""
        root = Path(shard.root)
        index = self.open_index(root / shard.file)
        refuse = Refuser(self.name, shard.split, shard.file)
        if shard.start == 0 and self.selects(shard, None):
            yield from self._stray_rejects(index, refuse)
        stop = min(shard.stop, len(index.images))
        for start in range(shard.start, stop, _CHUNK):
            positions = range(start, min(start + _CHUNK, stop))
            yield from self._read_chunk(shard, index, positions, refuse)
        # The pages of this shard are not needed again; without this, memory grows with the file.
        index.file.release()

    def _read_chunk(
        self, shard: ReadShard, index: CocoIndex, positions: range, refuse: Refuser
    ) -> Iterator[ImageRecord | Reject]:
        """Yield the records and rejects of some images of a shard."""
        root = Path(shard.root)
        outcomes: dict[int, ImageHeader | Fault] = {}
        for position in positions:
            # The split of an image can depend on its id, so the id comes first; the file is opened
            # only for images of this split.
            outcome, image_id = self._read_header(index, position)
            if not self.selects(shard, image_id):
                continue
            if isinstance(outcome, ImageHeader):
                outcome = self._with_file(root, shard.split, index, outcome)
            # Last: a record that is refused anyway is refused for its own fault.
            if isinstance(outcome, ImageHeader) and position in index.first_files:
                before = index.image_label(index.first_files[position])
                detail = f"image {image_id} ({outcome.file_name}) has the file of {before}"
                outcome = Fault(outcome.record_id, Reason.DUPLICATE_ID, detail)
            outcomes[position] = outcome
        found = self._annotations(index, list(outcomes), refuse)
        images = [UnreadImage(*item) for item in zip(outcomes.values(), *found, strict=True)]
        for (outcome, rejects, _), read in zip(images, with_masks(images), strict=True):
            yield from rejects
            if isinstance(outcome, ImageHeader):
                yield from self.read_image(root, index, outcome, read, refuse)
                continue
            # A refused image takes its annotations with it, each with a reject of its own.
            yield refuse(Level.IMAGE, *outcome)
            for annotation in read:
                level = self.level_of(index, annotation)
                detail = f"image {outcome.record_id}: {outcome.reason}"
                yield refuse(level, annotation.id, Reason.IMAGE_REJECTED, detail)

    def _read_header(
        self, index: CocoIndex, position: int
    ) -> tuple[ImageHeader | Fault, str | None]:
        """Return the header of an image, without a path, or its fault, and its image id if any."""
        raw = index.images.raw(position)
        try:
            fields = _image_fields.decode(raw)
        except UNREADABLE as error:
            return malformed(raw, position, error), None
        record_id = id_text(fields.id)
        if record_id is None or not fields.file_name:
            return malformed(raw, position, "id or file_name is empty"), None
        image_id = self.image_key(record_id, fields.file_name)
        if position in index.first_images:
            before = index.image_label(index.first_images[position])
            detail = f"image {image_id} ({fields.file_name}): before it {before}"
            return Fault(record_id, Reason.DUPLICATE_ID, detail), image_id
        width, height = whole_number(fields.width) or 0, whole_number(fields.height) or 0
        if min(width, height) < 1:
            detail = f"{fields.width} x {fields.height} is not the size of an image"
            return Fault(record_id, Reason.MALFORMED_RECORD, detail), image_id
        name = safe_name(fields.file_name)
        if name is None:
            return Fault(record_id, Reason.UNSAFE_PATH, repr(fields.file_name)), image_id
        if is_resource_fork(name):
            detail = f"{name} is not an image but a file that an archiver added"
            return Fault(record_id, Reason.MISSING_IMAGE, detail), image_id
        header = ImageHeader(record_id, image_id, fields.file_name, name, "", width, height)
        return header, image_id

    def _with_file(
        self, root: Path, split: str, index: CocoIndex, header: ImageHeader
    ) -> ImageHeader | Fault:
        """Return the header of an image with the path of its file, or the fault of that."""
        size = header.width, header.height
        exact = self.picture_places(split, header.name).exact
        # Nearly every image is at its exact place and sound: no look at the place before that.
        if exact and check_image(os.path.join(root, exact), *size) is None:
            return header.at(exact)
        path, clash = locate(root, index, header.name, partial(self.picture_places, split))
        if clash:
            return Fault(header.record_id, Reason.AMBIGUOUS_IMAGE, clash)
        fault = image_fault(root / path, *size)
        return header.at(path) if fault is None else Fault(header.record_id, *fault)

    def annotations_of(
        self, index: CocoIndex, image: int, header: ImageHeader, refuse: Refuser
    ) -> tuple[list[Reject], list[Annotation]]:
        """Return rejects and readable annotations of one image of another file than the shard's.

        Args:
            index: index of that file.
            image: position of the image in it.
            header: the image.
            refuse: creates the rejects of that file.

        Returns:
            A reject for each annotation that does not decode or is a duplicate, and the others with
            their masks, in file order.
        """
        (rejects,), (unread,) = self._annotations(index, [image], refuse)
        (annotations,) = with_masks([UnreadImage(header, rejects, unread)])
        return rejects, annotations

    def _annotations(
        self, index: CocoIndex, images: Sequence[int], refuse: Refuser
    ) -> tuple[list[list[Reject]], list[Columns]]:
        """Return rejects and annotations of each image; see `UnreadImage`."""
        positions = [index.annotations_of(image) for image in images]
        every = np.concatenate(positions) if positions else np.zeros(0, np.int32)
        if not index.duplicate_annotations[every].any():
            sound = annotations_of(index.annotations.raws(every), self.link_key)
            if sound is not None:
                return [[] for _ in images], sound.cut(list(map(len, positions)))
        one_by_one = [self._annotations_of_one(index, image, refuse) for image in images]
        return [rejects for rejects, _ in one_by_one], [unread for _, unread in one_by_one]

    def _annotations_of_one(
        self, index: CocoIndex, image: int, refuse: Refuser
    ) -> tuple[list[Reject], Columns]:
        """Return rejects and annotations of an image of which some may be refused."""
        rejects: list[Reject] = []
        annotations = Columns([], [], [], [])
        positions = index.annotations_of(image)
        late = index.duplicate_annotations[positions]
        late_ones = set(positions[late].tolist()) if late.any() else ()
        link_key = self.link_key
        raws = index.annotations.raws(positions)
        for position, raw in zip(positions.tolist(), raws, strict=True):
            fault, fields, mask = annotation_of(raw, position, link_key)
            # An annotation that does not decode has no category that would show its level.
            if fault is not None:
                rejects.append(refuse(self.level, *fault))
            elif position in late_ones:
                level, detail = self._level(index, fields), "an annotation had it before"
                rejects.append(refuse(level, fields[0], Reason.DUPLICATE_ID, detail))
            else:
                annotations.add(fields, mask)
        return rejects, annotations

    def _level(self, index: CocoIndex, fields: Fields) -> Level:
        """Return the level of an annotation whose mask is not read."""
        return self.level_of(index, Annotation(*fields, UNREAD))

    def _stray_rejects(self, index: CocoIndex, refuse: Refuser) -> Iterator[Reject]:
        """Yield a reject for each broken category and each annotation without an image."""
        for fault in index.category_faults:
            yield refuse(Level.FILE, *fault)
        for position, fault in index.stray_faults():
            broken, fields, _ = annotation_of(
                index.annotations.raw(position), position, self.link_key
            )
            level = self._level(index, fields) if broken is None else self.level
            yield refuse(level, *fault)
