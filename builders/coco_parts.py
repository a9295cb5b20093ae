"""COCO-style files with objects and parts, described by a YAML beside them.

The YAML is `coco_parts/coco_parts.yaml` below the root. It has the files of each split, the
categories that are objects, the categories of their parts, and how a part finds its object.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath

from builders.bases.coco_annotations import Annotation
from builders.bases.coco_description import (
    FILE,
    FOLDER,
    NAME,
    Description,
    Link,
    read_description,
)
from builders.bases.coco_index import CocoIndex, open_index
from builders.bases.coco_source import CocoSource, SplitFiles
from builders.formats.identifiers import id_text
from builders.formats.image_rejects import ImageHeader, Refuser
from builders.formats.paths import Places
from builders.formats.segmentation import Refusal
from mixedparts import masks
from mixedparts.errors import InputError
from mixedparts.files.opening import is_there
from mixedparts.masks import Rle
from mixedparts.records import ImageRecord, Level, ObjectInstance, PartInstance, Reason, Reject
from mixedparts.sources.contract import ReadShard
from mixedparts.sources.manifest_types import Manifest
from mixedparts.storage.digest_cache import Stamp

# Share of the pixels of a part that its object must cover, for `Link.OVERLAP`.
LEAST_OVERLAP = 0.5


class CocoPartsSource:
    """Reader of the files that `coco_parts.yaml` describes."""

    # The registry creates readers without arguments, but this one depends on the YAML below a root.
    # It stays without state: every call takes its reader from the cached description.

    name = NAME
    version = "1"

    def layout(self, root: Path) -> str:
        """Return the tree of files that the reader expects, as lines of text."""
        return (
            f"{root}/\n"
            f"  {FILE}   (docs/coco-parts.md has an example)\n"
            f"  {FOLDER}/…   the annotation files and image folders that it names"
        )

    def manifest(self, root: Path | None) -> Manifest | None:
        """Return classes, names and terms of the YAML; see `SelfDescribed.manifest`."""
        return None if root is None else _description(root).manifest

    def splits(self, root: Path) -> tuple[str, ...]:
        """Return the splits whose annotation file exists; see `Source.splits`.

        Raises:
            InputError: the YAML cannot be read, or a split has only one of its file and its folder.
        """
        return _reader(root).splits(root) if is_there(root / FILE) else ()

    def required_files(self, root: Path, split: str) -> tuple[str, ...]:
        """Return the files and folders of a split; see `Source.required_files`."""
        return _reader(root).required_files(root, split)

    def plan(self, root: Path, split: str, shard_images: int, variant: str) -> list[ReadShard]:
        """Divide a split into shards; see `Source.plan`.

        Args:
            root: folder that the source's layout starts from.
            split: `train`, `validation` or `test`.
            shard_images: most image records in a shard.
            variant: must be empty.

        Returns:
            The shards in file order.

        Raises:
            InputError: the YAML or the annotation file cannot be read.
            UsageError: there is no such split or variant, or `shard_images` is below 1.
        """
        return _reader(root).plan(root, split, shard_images, variant)

    def read(self, shard: ReadShard) -> Iterator[ImageRecord | Reject]:
        """Yield the records and rejects of a shard; see `Source.read`."""
        return _reader(Path(shard.root)).read(shard)


def _description(root: Path) -> Description:
    try:
        stamp = Stamp.of((root / FILE).stat())
    # `read_description` raises the error of a missing file, with a hint.
    except OSError:
        stamp = None
    return _read_description(root, stamp)


# `stamp` is part of the key only: after an edit, the YAML is read again.
@lru_cache(maxsize=2)
def _read_description(root: Path, stamp: Stamp | None) -> Description:
    def categories(file: str) -> list[str]:
        # A source may have only some of its splits.
        if not is_there(root / file):
            return []
        index = open_index(root / file, _Reader.image_key)
        return [category.name for category in index.categories.values() if category.name]

    return read_description(root, categories)


def _reader(root: Path) -> _Reader:
    return _Reader(_description(root))


class _Reader(CocoSource):
    """Reads the files of one description.

    Args:
        described: the content of the YAML.
    """

    name = NAME
    version = CocoPartsSource.version
    level = Level.OBJECT

    def __init__(self, described: Description) -> None:
        self._described = described
        self.link_key = described.link_key
        objects = described.manifest.objects
        # Category of a part -> the classes that have such a part.
        self._parts: dict[str, frozenset[str]] = {}
        for item in objects.values():
            for part in item.parts:
                classes = self._parts.get(part.native, frozenset())
                self._parts[part.native] = classes | {item.key}
        # With unions the classes are names of groups of parts, not categories of annotations.
        self._objects = frozenset() if described.link is Link.UNION else frozenset(objects)

    def layout(self, root: Path) -> str:
        """Return the tree of files that the reader expects, as lines of text."""
        return CocoPartsSource().layout(root)

    def files(self, root: Path, split: str) -> SplitFiles:
        """Return the files and folders of a split; none for a split that is not in the YAML."""
        place = self._described.splits.get(split)
        if place is None:
            return SplitFiles("", ())
        return SplitFiles(place.annotations, (place.images,), (FILE,))

    def splits(self, root: Path) -> tuple[str, ...]:
        """Return the splits whose annotation file exists; see `CocoPartsSource.splits`."""
        # Without both, the split was left out on purpose. A folder alone is mostly a wrong path.
        for split, place in self._described.splits.items():
            if (root / place.images).is_dir() and not is_there(root / place.annotations):
                raise InputError(
                    f"{self.name}: the image folder of split {split}, {root / place.images}, is"
                    f" there, but its annotation file {root / place.annotations} is not",
                    f"Correct the path in {root / FILE}, or remove the split there.",
                )
        return super().splits(root)

    @staticmethod
    def image_key(record_id: str, file_name: str) -> str:
        """Return `image_id`: the file name without its suffix."""
        # Not the upstream id: ids often start from 1 again in each split.
        path = PurePosixPath(file_name)
        return str(path.parent / path.stem)

    def picture_places(self, split: str, name: PurePosixPath) -> Places:
        """Return the file name below the image folder of the split, and without its folders."""
        folder = self._described.splits[split].images
        return Places(f"{folder}/{name}", (f"{folder}/{name.name}",))

    def level_of(self, index: CocoIndex, annotation: Annotation) -> Level:
        """Return the level by the category, else by the link to another annotation."""
        name = _category(index, annotation)
        if name in self._objects or name in self._parts:
            return Level.PART if name in self._parts else Level.OBJECT
        return self.level_by_link(annotation)

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
            Rejects, then the `ImageRecord`.
        """
        objects: dict[str, ObjectInstance] = {}
        # Parts wait until all objects are known: a part can come before its object in the file.
        waiting: list[tuple[Annotation, str]] = []
        for item in annotations:
            name, level = _category(index, item), self.level_of(index, item)
            for dropped in item.segmentation.dropped:
                yield refuse(Level.POLYGON, item.id, *dropped)
            if name not in self._objects and name not in self._parts:
                detail = f"category {item.category_id} {name}".rstrip()
                yield refuse(level, item.id, Reason.UNKNOWN_CATEGORY, detail)
            elif name in self._parts:
                waiting.append((item, name))
            elif isinstance(item.segmentation.mask, Refusal):
                yield refuse(level, item.id, *item.segmentation.mask)
            else:
                objects[item.id] = ObjectInstance(item.id, name, item.segmentation.mask)
        parts: list[PartInstance] = []
        for item, name in waiting:
            part = self._part(item, name, item.segmentation.mask, objects)
            if isinstance(part, Refusal):
                yield refuse(Level.PART, item.id, *part)
            else:
                parts.append(part)
        if self._described.link is Link.UNION:
            objects = _united(parts)
        yield header.record(refuse, tuple(objects.values()), parts)

    def _part(
        self,
        item: Annotation,
        name: str,
        mask: Rle | Refusal,
        objects: Mapping[str, ObjectInstance],
    ) -> PartInstance | Refusal:
        """Return a part of one of the objects of its image, or why it is refused."""
        owners = self._parts[name]
        # The object is made of the parts later; its id is the class, which is unique for unions.
        if self._described.link is Link.UNION:
            (only,) = owners
            return mask if isinstance(mask, Refusal) else PartInstance(item.id, only, name, mask)
        if self._described.link is Link.OVERLAP:
            if isinstance(mask, Refusal):
                return mask
            fitting = [owner for owner in objects.values() if owner.category in owners]
            return _overlapping(item.id, name, mask, fitting)
        owner_id = id_text(item.link)
        if owner_id is None and item.link is not None:
            return Refusal(Reason.MALFORMED_RECORD, f"{self.link_key} is not an id")
        if owner_id is None:
            return Refusal(Reason.ORPHAN_PART, f"it has no key {self.link_key}")
        owner = objects.get(owner_id)
        if owner is None:
            return Refusal(Reason.ORPHAN_PART, f"no usable object {owner_id} in its image")
        if owner.category not in owners:
            return Refusal(Reason.PART_CLASS_MISMATCH, f"{name} of a {owner.category}")
        return mask if isinstance(mask, Refusal) else PartInstance(item.id, owner.id, name, mask)


def _category(index: CocoIndex, annotation: Annotation) -> str:
    """Return the category name of an annotation, "" if the file does not define it."""
    category = index.categories.get(annotation.category_id)
    return "" if category is None else category.name


def _overlapping(
    part_id: str, name: str, mask: Rle, fitting: Sequence[ObjectInstance]
) -> PartInstance | Refusal:
    """Return a part of the object that covers most of its pixels, the first of equals."""
    covered = [masks.area(masks.intersection([mask, owner.mask])) for owner in fitting]
    most = max(covered, default=0)
    share = most / masks.area(mask)
    if share < LEAST_OVERLAP:
        detail = f"no object of its classes covers more than {share:.0%} of it"
        return Refusal(Reason.ORPHAN_PART, detail)
    return PartInstance(part_id, fitting[covered.index(most)].id, name, mask)


def _united(parts: Sequence[PartInstance]) -> dict[str, ObjectInstance]:
    """Return one object a class, the union of its parts; its id is the class."""
    by_class: dict[str, list[Rle]] = {}
    for part in parts:
        by_class.setdefault(part.object_id, []).append(part.mask)
    return {key: ObjectInstance(key, key, masks.union(rles)) for key, rles in by_class.items()}
