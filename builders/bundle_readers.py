"""The sources' readers, turned to the files of a bundle and to the images that it names.

They are the readers of a build, so that a bad annotation has the same reason code in both.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from builders.ade20k import Ade20kPartSource
from builders.bases.coco_index import CocoIndex, open_index
from builders.bases.coco_source import Annotation, CocoSource
from builders.bundle_records import RecordFile
from builders.formats.identifiers import id_text
from builders.formats.image_rejects import ImageHeader, Refuser
from builders.formats.json_file import decode_untyped
from builders.formats.paths import first_present
from builders.formats.segmentation import Refusal, read_segmentations
from builders.paco import PacoSource
from builders.partimagenet import PartImageNetSource
from mixedparts.interchange.bundle_import.contract import Place
from mixedparts.masks import Rle
from mixedparts.records import ImageRecord, Level, ObjectInstance, PartInstance, Reason, Reject
from mixedparts.sources.contract import ReadShard


class _Bundled(CocoSource):
    """What the readers of a bundle share: they look at wanted images only."""

    _place: Place
    _wanted: Container[str] | None

    @staticmethod
    def image_key(record_id: str, file_name: str) -> str:
        """Return the upstream id, which is what records name."""
        return record_id

    def selects(self, shard: ReadShard, image_id: str | None) -> bool:
        """Take wanted images (of a whole file those that it lists under the split), and strays."""
        if image_id is None or self._wanted is not None:
            return image_id is None or image_id in (self._wanted or ())
        listed = _splits(open_index(self._place.objects, self.image_key)).get(image_id)
        return not isinstance(listed, list) or shard.split in listed

    def records(self, split: str) -> Iterator[ImageRecord | Reject]:
        """Yield the records of wanted images; `image_id` is still upstream's id."""
        total = len(open_index(self._place.objects, self.image_key).images)
        shard = ReadShard(
            self.name, split, str(self._place.pictures), str(self._place.objects), 0, total
        )
        for item in self.read(shard):
            yield self._called(item) if isinstance(item, Reject) else item

    def _called(self, reject: Reject) -> Reject:
        """Return the reject with its file as the layout calls it, wherever it lies."""
        return replace(reject, file=self._place.named.get(reject.file, reject.file))


class BundledPaco(_Bundled, PacoSource):
    """PACO: upstream's own file, or one of its form."""

    def __init__(self, place: Place, wanted: Container[str] | None) -> None:
        self._place, self._wanted = place, wanted

    def picture_paths(self, split: str, name: PurePosixPath) -> Iterator[str]:
        """Yield the places below `coco` and below the bundle's `coco_2017`."""
        for path in PacoSource.picture_paths(self, split, name):
            yield path
            yield path.replace("coco/", "coco_2017/", 1)


class BundledAde(_Bundled, Ade20kPartSource):
    """ADE20K-Part-234: the bundle's object file, part maps of the bundle or of upstream."""

    def __init__(self, place: Place, wanted: Container[str] | None) -> None:
        self._place, self._wanted = place, wanted

    def map_path(self, root: Path, split: str, header: ImageHeader) -> str:
        """Return the part map, which may lie elsewhere than the pictures."""
        assert self._place.parts is not None
        own = header.name.with_suffix(".png")
        return str(self._place.parts / first_present(self._place.parts, (own.name, str(own))))


class BundledPartImageNet(_Bundled, PartImageNetSource):
    """PartImageNet: objects in the `whole` file, parts in another with the same image ids."""

    level = Level.OBJECT

    def __init__(self, place: Place, wanted: Container[str] | None) -> None:
        self._place, self._wanted = place, wanted

    def records(self, split: str) -> Iterator[ImageRecord | Reject]:
        """Yield what belongs to no image of the part file, then the records."""
        parts, refuse = self._parts_index(), self._parts_refuser(split)
        for reject in self._stray_rejects(parts, refuse):
            yield self._called(replace(reject, level=_part_level(reject.level)))
        yield from super().records(split)

    def read_image(
        self,
        root: Path,
        index: CocoIndex,
        header: ImageHeader,
        annotations: Sequence[Annotation],
        refuse: Refuser,
    ) -> Iterator[ImageRecord | Reject]:
        """Yield the record of a usable picture: objects as annotated, and its parts."""
        objects: list[ObjectInstance] = []
        for item in _read(index, header, annotations, refuse, Level.OBJECT):
            if isinstance(item, Reject):
                yield item
            else:
                objects.append(ObjectInstance(item.id, item.category, item.mask))
        parts_index, refuse_part = self._parts_index(), self._parts_refuser(refuse.split)
        position = _positions(parts_index).get(header.record_id)
        found: list[Annotation] = []
        for outcome in (
            () if position is None else self._annotations(parts_index, position, refuse_part)
        ):
            if isinstance(outcome, Reject):
                yield replace(outcome, level=_part_level(outcome.level))
            else:
                found.append(outcome)
        parts: list[PartInstance] = []
        for item in _read(parts_index, header, found, refuse_part, Level.PART):
            if isinstance(item, Reject):
                yield item
            elif not objects:
                detail = f"image {header.record_id} has no usable object"
                yield refuse_part(Level.PART, item.id, Reason.ORPHAN_PART, detail)
            else:
                parts.append(PartInstance(item.id, objects[0].id, item.category, item.mask))
        yield header.record(refuse, objects, parts)

    def _parts_index(self) -> CocoIndex:
        assert self._place.parts is not None
        return open_index(self._place.parts, self.image_key)

    def _parts_refuser(self, split: str) -> Refuser:
        return Refuser(self.name, split, str(self._place.parts))


class _Masked(NamedTuple):
    """An annotation with the name of its category and its mask."""

    id: str
    category: str
    mask: Rle


def _read(
    index: CocoIndex,
    header: ImageHeader,
    annotations: Sequence[Annotation],
    refuse: Refuser,
    level: Level,
) -> Iterator[_Masked | Reject]:
    raws = [item.segmentation for item in annotations]
    read = read_segmentations(raws, header.width, header.height)
    for item, segmentation in zip(annotations, read, strict=True):
        for dropped in segmentation.dropped:
            yield refuse(Level.POLYGON, item.id, *dropped)
        category = index.categories.get(item.category_id)
        if category is None or not category.name:
            yield refuse(level, item.id, Reason.UNKNOWN_CATEGORY, f"category {item.category_id}")
        elif isinstance(segmentation.mask, Refusal):
            yield refuse(level, item.id, *segmentation.mask)
        else:
            yield _Masked(item.id, category.name, segmentation.mask)


def _part_level(level: Level) -> Level:
    return Level.PART if level is Level.OBJECT else level


@lru_cache(maxsize=1)
def _positions(index: CocoIndex) -> dict[str, int]:
    """Return image id as text -> position of its first record."""
    found: dict[str, int] = {}
    for position, text, _ in _image_records(index):
        found.setdefault(text, position)
    return found


@lru_cache(maxsize=1)
def _splits(index: CocoIndex) -> dict[str, Any]:
    """Return image id as text -> the splits that an exported file lists it under."""
    return {text: record.get("splits") for _, text, record in _image_records(index)}


def _image_records(index: CocoIndex) -> Iterator[tuple[int, str, dict[str, Any]]]:
    for position in range(len(index.images)):
        try:
            record = decode_untyped(index.images.raw(position))
        except ValueError:
            continue
        text = id_text(record.get("id")) if isinstance(record, dict) else None
        if text is not None:
            yield position, text, record


BUNDLED: dict[str, type[BundledPaco] | type[BundledAde] | type[BundledPartImageNet]] = {
    "paco": BundledPaco,
    "ade20k": BundledAde,
    "partimagenet": BundledPartImageNet,
}


class AuthorsBundle:
    """The readers that an import finds under the entry-point group `mixedparts.bundles`."""

    def open_records(self, path: Path) -> RecordFile:
        """Open the records of one split.

        Raises:
            InputError: the file is missing, is not JSON, or is not a list.
        """
        return RecordFile(path)

    def annotations(
        self, source: str, place: Place, wanted: Container[str] | None
    ) -> BundledPaco | BundledAde | BundledPartImageNet:
        """Return the reader of one source.

        Args:
            source: a key of `BUNDLED`.
            place: where the source's files are.
            wanted: upstream ids of the images to read; None: all images of the split.

        Returns:
            The source's reader, which reads a bundle's files.
        """
        return BUNDLED[source](place, wanted)
