"""Base class of the PartImageNet family: one object an image, its class is in the file name.

The annotations describe parts. The mask of the object comes from its `whole` PNG if that exists,
else it is the union of the parts.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from builders.bases.coco_annotations import Annotation
from builders.bases.coco_index import Category, CocoIndex
from builders.bases.coco_source import CocoSource
from builders.bases.look_up import locate
from builders.formats.identifiers import id_text
from builders.formats.image_rejects import ImageHeader, Refuser
from builders.formats.paths import Places
from builders.formats.segmentation import Refusal
from builders.formats.segmentation_maps import EIGHT_BIT, UnusableMap, read_label_map
from mixedparts import masks
from mixedparts.masks import Rle
from mixedparts.records import ImageRecord, Level, ObjectInstance, PartInstance, Reason, Reject
from mixedparts.sources.manifests import load_manifest

SHORT = {"train": "train", "validation": "val", "test": "test"}
# `n02085620`: a letter and eight digits.
_SYNSET_LETTERS = 9
# Upstream numbers the 158 classes from 0.
_WHOLE_BACKGROUND = 158


class _Part(NamedTuple):
    """The meaning of a category: a part of any class of one superclass."""

    superclass: str
    native: str


class SynsetSource(CocoSource):
    """Base of the readers with one object an image, whose class is the synset in the file name.

    Categories are `Superclass Part`, spelled as in the manifest of the source.
    """

    level = Level.PART

    @abstractmethod
    def whole_folder(self, split: str) -> str:
        """Return the folder of the `whole` PNGs of a split, relative to the root."""

    @staticmethod
    def image_key(record_id: str, file_name: str) -> str:
        """Return `image_id`: the file stem."""
        return PurePosixPath(file_name).stem

    @staticmethod
    def paths_below(folder: str, short: str, name: PurePosixPath) -> Iterator[str]:
        """Yield the further paths where an image may be below the image folder of one split.

        Args:
            folder: the image folder, relative to the root.
            short: upstream's name of the split.
            name: the image file as annotated.

        Yields:
            Paths relative to the root: flat, as annotated, and in folders by synset or split.
        """
        synset = synset_of(name)
        yield f"{folder}/{name.name}"
        if len(name.parts) > 1:
            yield f"{folder}/{name}"
        # Some archives unpack with the folder of the split, or of the synset, inside itself.
        for inner in (synset, short, f"{short}/{synset}", f"{synset}/{synset}"):
            yield f"{folder}/{inner}/{name.name}"

    def read_image(
        self,
        root: Path,
        index: CocoIndex,
        header: ImageHeader,
        annotations: Sequence[Annotation],
        refuse: Refuser,
    ) -> Iterator[ImageRecord | Reject]:
        """Yield the record of a usable image: one object and its parts.

        Args:
            root: folder that the source's layout starts from.
            index: index of the annotation file.
            header: the image.
            annotations: its readable annotations, in file order.
            refuse: creates the rejects.

        Yields:
            Rejects, then the `ImageRecord`; it has no object if the object has no mask.
        """
        synset = synset_of(header.name)
        class_of_image = load_manifest(self.name).objects.get(synset)
        superclass = None if class_of_image is None else class_of_image.superclass
        parts: list[PartInstance] = []
        for outcome in _parts(_meanings(index, self.name), header, annotations, refuse, superclass):
            if isinstance(outcome, PartInstance):
                parts.append(outcome)
            else:
                yield outcome
        if class_of_image is None:
            detail = f"'{synset}' is not one of the 158 classes"
            mask: Rle | Refusal = Refusal(Reason.UNKNOWN_CATEGORY, detail)
        else:
            # A broken PNG is reported, and the union of the parts replaces it.
            folder = root / self.whole_folder(refuse.split)
            mask, fault = _object_mask(folder, index, header, parts)
            if fault is not None:
                yield refuse(Level.IMAGE, header.record_id, *fault)
        if not isinstance(mask, Refusal):
            yield header.record(refuse, [ObjectInstance(header.record_id, synset, mask)], parts)
            return
        # Parts without an object cannot be used: each becomes a reject, as every annotation must.
        yield refuse(Level.OBJECT, header.record_id, *mask)
        for part in parts:
            detail = f"the object of {header.file_name}: {mask.reason}"
            yield refuse(Level.PART, part.id, Reason.ORPHAN_PART, detail)
        yield header.record(refuse, (), ())


def synset_of(name: PurePosixPath) -> str:
    """Return the WordNet id that a file name begins with."""
    return name.name[:_SYNSET_LETTERS]


def _parts(
    meanings: Mapping[str, _Part],
    header: ImageHeader,
    annotations: Sequence[Annotation],
    refuse: Refuser,
    superclass: str | None,
) -> Iterator[PartInstance | Reject]:
    """Yield the usable parts, and rejects; a `superclass` of None accepts parts of any class."""
    for item in annotations:
        meaning = meanings.get(item.category_id)
        for dropped in item.segmentation.dropped:
            yield refuse(Level.POLYGON, item.id, *dropped)
        if meaning is None:
            detail = f"category {item.category_id}"
            yield refuse(Level.PART, item.id, Reason.UNKNOWN_CATEGORY, detail)
        elif superclass is not None and meaning.superclass != superclass:
            detail = f"{meaning.superclass} {meaning.native} of a {superclass}"
            yield refuse(Level.PART, item.id, Reason.PART_CLASS_MISMATCH, detail)
        elif isinstance(item.segmentation.mask, Refusal):
            yield refuse(Level.PART, item.id, *item.segmentation.mask)
        else:
            yield PartInstance(item.id, header.record_id, meaning.native, item.segmentation.mask)


def _object_mask(
    folder: Path, index: CocoIndex, header: ImageHeader, parts: Sequence[PartInstance]
) -> tuple[Rle | Refusal, Refusal | None]:
    """Return the mask of the object from its PNG or its parts, and the fault of the PNG."""
    place, clash = locate(folder, index, header.name, _whole_places)
    path = folder / place
    fault = Refusal(Reason.AMBIGUOUS_MAP, clash) if clash else None
    if fault is None and path.is_file():
        try:
            labels = read_label_map(path, header.width, header.height, EIGHT_BIT)
        except UnusableMap as error:
            fault = Refusal(Reason.UNREADABLE_OBJECT_MAP, str(error))
        else:
            # The class numbers in the PNG are not documented, and the class is known from the file
            # name: every pixel that is not background belongs to the object.
            whole = masks.from_dense(labels != _WHOLE_BACKGROUND)
            if masks.is_empty(whole):
                return Refusal(Reason.EMPTY_MASK, f"{path.name} is all background"), None
            return whole, None
    if not parts:
        return Refusal(Reason.MISSING_MASK, "no whole PNG and no usable part"), fault
    return masks.union([part.mask for part in parts]), fault


def _whole_places(name: PurePosixPath) -> Places:
    """Return the places of a `whole` PNG: as the image is named, flat, and by synset."""
    stem = name.stem
    return Places(
        str(name.with_name(f"{stem}.png")),
        (f"{stem}.png", f"{stem[:_SYNSET_LETTERS]}/{stem}.png"),
    )


@lru_cache(maxsize=1)
def _meanings(index: CocoIndex, source: str) -> dict[str, _Part]:
    """Return category id as text -> its part, by the categories block of the file itself."""
    # Releases number the categories differently, from 0 or from 1.
    meanings = {key: _meaning(category, source) for key, category in index.categories.items()}
    return {key: part for key, part in meanings.items() if part is not None}


def _meaning(category: Category, source: str) -> _Part | None:
    """Return the part of a category by its name, or by its id if it has no name."""
    by_name, by_id = _known_parts(source)
    if not category.name:
        return by_id.get(id_text(category.id) or "")
    whole_name = _letters(category.name)
    # Some files write `Head` with the supercategory `Quadruped` instead of `Quadruped Head`.
    return by_name.get(whole_name) or by_name.get(_letters(category.supercategory) + whole_name)


@cache
def _known_parts(source: str) -> tuple[dict[str, _Part], dict[str, _Part]]:
    """Return the part categories of a manifest by the letters of their name, and by id."""
    by_name, by_id = {}, {}
    for item in load_manifest(source).objects.values():
        for part in item.parts:
            meaning = _Part(item.superclass, part.native)
            by_id[str(part.id)] = meaning
            by_name[_letters(f"{item.superclass} {part.native}")] = meaning
    return by_name, by_id


def _letters(name: str) -> str:
    """Return a name in lower case without blanks and signs."""
    # Upstream writes `Tier` for the tires of cars and bicycles.
    words = "".join(letter for letter in name.casefold() if letter.isalpha())
    return words.removesuffix("tier") + "tire" if words.endswith("tier") else words
