"""Readers of the annotation files of a bundle, limited to the images that its records name.

They extend the readers of a build, so that a bad annotation has the same reason code in both.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from builders.ade20k import Ade20kPartSource
from builders.bases.coco_annotations import Annotation
from builders.bases.coco_index import CocoIndex
from builders.bases.coco_source import CocoSource
from builders.bundle_records import RecordFile
from builders.formats.identifiers import id_text
from builders.formats.image_rejects import ImageHeader, Refuser
from builders.formats.json_file import decode_untyped
from builders.formats.paths import Places
from builders.formats.segmentation import Refusal
from builders.paco import PacoSource
from builders.partimagenet import PartImageNetSource
from mixedparts.interchange.bundle_import.contract import Place
from mixedparts.masks import Rle
from mixedparts.records import ImageRecord, Level, ObjectInstance, PartInstance, Reason, Reject
from mixedparts.sources.contract import ReadShard


class _Bundled(CocoSource):
    """Base of the readers of a bundle, which read wanted images only."""

    _place: Place
    _wanted: Container[str] | None

    @staticmethod
    def image_key(record_id: str, file_name: str) -> str:
        """Return the upstream id, which the records of a bundle use."""
        return record_id

    def selects(self, shard: ReadShard, image_id: str | None) -> bool:
        """Return whether an image is wanted; see `CocoSource.selects`."""
        # Without a list of wanted images, the file lists the splits of each image (an exported
        # file), or all its images belong to the split.
        if image_id is None or self._wanted is not None:
            return image_id is None or image_id in (self._wanted or ())
        listed = _splits(self.open_index(self._place.objects)).get(image_id)
        return not isinstance(listed, list) or shard.split in listed

    def records(self, split: str) -> Iterator[ImageRecord | Reject]:
        """Yield the records of wanted images; `image_id` is the upstream id."""
        # One shard for the whole file: wanted images are spread over it.
        total = len(self.open_index(self._place.objects).images)
        shard = ReadShard(
            self.name, split, str(self._place.image_root), str(self._place.objects), 0, total
        )
        for item in self.read(shard):
            yield self._with_layout_name(item) if isinstance(item, Reject) else item

    def _with_layout_name(self, reject: Reject) -> Reject:
        """Return the reject with the name that its file has in the layout of a bundle."""
        # A file of upstream can take the place of a file of the bundle, at any path.
        return replace(reject, file=self._place.layout_names.get(reject.file, reject.file))


class BundledPaco(_Bundled, PacoSource):
    """PACO: the upstream file, or one in its format.

    Args:
        place: the files of the source and split.
        wanted: upstream ids of the images to read; None for all images of the split.
    """

    def __init__(self, place: Place, wanted: Container[str] | None) -> None:
        self._place, self._wanted = place, wanted

    def picture_places(self, split: str, name: PurePosixPath) -> Places:
        """Return the places below `coco`, and below `coco_2017` as in the bundle."""
        places = PacoSource.picture_places(self, split, name)
        every = [place for place in (places.exact, *places.others) if place]
        renamed = [place.replace("coco/", "coco_2017/", 1) for place in every]
        return Places(places.exact, (*places.others, *renamed))


class BundledAde(_Bundled, Ade20kPartSource):
    """ADE20K-Part-234: the object file of the bundle, part maps of the bundle or of upstream.

    Args:
        place: the files of the source and split.
        wanted: upstream ids of the images to read; None for all images of the split.
    """

    def __init__(self, place: Place, wanted: Container[str] | None) -> None:
        self._place, self._wanted = place, wanted

    @staticmethod
    def file_key(file_name: str) -> str:
        """Return the file stem, which is the `image_id` of the build."""
        return PurePosixPath(file_name).stem

    def map_folder(self, root: Path, split: str) -> Path:
        """Return the folder of the part PNGs, which can be below another root than the images."""
        assert self._place.parts is not None
        return self._place.parts


class BundledPartImageNet(_Bundled, PartImageNetSource):
    """PartImageNet: objects in the `whole` file, parts in another file with the same image ids.

    Args:
        place: the files of the source and split.
        wanted: upstream ids of the images to read; None for all images of the split.
    """

    level = Level.OBJECT

    def __init__(self, place: Place, wanted: Container[str] | None) -> None:
        self._place, self._wanted = place, wanted

    @staticmethod
    def file_key(file_name: str) -> str:
        """Return the file stem, which is the `image_id` of the build."""
        return PurePosixPath(file_name).stem

    def records(self, split: str) -> Iterator[ImageRecord | Reject]:
        """Yield the rejects of the part file that belong to no image, then the records."""
        # The base class does so for the object file alone.
        parts, refuse = self._parts_index(), self._parts_refuser(split)
        for reject in self._stray_rejects(parts, refuse):
            yield self._with_layout_name(replace(reject, level=_part_level(reject.level)))
        yield from super().records(split)

    def read_image(
        self,
        root: Path,
        index: CocoIndex,
        header: ImageHeader,
        annotations: Sequence[Annotation],
        refuse: Refuser,
    ) -> Iterator[ImageRecord | Reject]:
        """Yield the record of a usable image: objects as annotated, and the parts.

        Args:
            root: folder that image paths are relative to.
            index: index of the object file.
            header: the image.
            annotations: its readable object annotations, in file order.
            refuse: creates the rejects of the object file.

        Yields:
            Rejects, then the `ImageRecord`.
        """
        objects: list[ObjectInstance] = []
        for item in _read(index, header, annotations, refuse, Level.OBJECT):
            if isinstance(item, Reject):
                yield item
            else:
                objects.append(ObjectInstance(item.id, item.category, item.mask))
        parts_index, refuse_part = self._parts_index(), self._parts_refuser(refuse.split)
        position = _positions(parts_index).get(header.record_id)
        part_annotations: list[Annotation] = []
        if position is not None:
            rejects, part_annotations = self.annotations_of(
                parts_index, position, header, refuse_part
            )
            yield from (replace(item, level=_part_level(item.level)) for item in rejects)
        parts: list[PartInstance] = []
        for item in _read(parts_index, header, part_annotations, refuse_part, Level.PART):
            if isinstance(item, Reject):
                yield item
            elif not objects:
                detail = f"image {header.record_id} has no usable object"
                yield refuse_part(Level.PART, item.id, Reason.ORPHAN_PART, detail)
            else:
                # One object an image in this source; its annotations have no links.
                parts.append(PartInstance(item.id, objects[0].id, item.category, item.mask))
        yield header.record(refuse, objects, parts)

    def _parts_index(self) -> CocoIndex:
        """Return the index of the part file."""
        assert self._place.parts is not None
        return self.open_index(self._place.parts)

    def _parts_refuser(self, split: str) -> Refuser:
        """Return what creates the rejects of the part file."""
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
    """Yield the usable annotations, and a reject for each of the others at `level`."""
    for item in annotations:
        for dropped in item.segmentation.dropped:
            yield refuse(Level.POLYGON, item.id, *dropped)
        category = index.categories.get(item.category_id)
        if category is None or not category.name:
            yield refuse(level, item.id, Reason.UNKNOWN_CATEGORY, f"category {item.category_id}")
        elif isinstance(item.segmentation.mask, Refusal):
            yield refuse(level, item.id, *item.segmentation.mask)
        else:
            yield _Masked(item.id, category.name, item.segmentation.mask)


def _part_level(level: Level) -> Level:
    """Return the level of a record of the part file, where the base class assumes objects."""
    return Level.PART if level is Level.OBJECT else level


@lru_cache(maxsize=1)
def _positions(index: CocoIndex) -> dict[str, int]:
    """Return image id as text -> position of its first record."""
    positions: dict[str, int] = {}
    for position, text, _ in _image_records(index):
        positions.setdefault(text, position)
    return positions


@lru_cache(maxsize=1)
def _splits(index: CocoIndex) -> dict[str, Any]:
    """Return image id as text -> its splits in an exported file, None in other files."""
    return {text: record.get("splits") for _, text, record in _image_records(index)}


def _image_records(index: CocoIndex) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yield position, id as text, and content of each readable image record."""
    # Broken records are refused when a shard reads them.
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
