"""Sources of the PartImageNet family: one object an image, its class the synset in its file name.

Annotations describe parts; the object is its whole PNG where one is there, else their union.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from builders.bases.coco_index import Category, CocoIndex
from builders.bases.coco_source import Annotation, CocoSource
from builders.formats.identifiers import id_text
from builders.formats.image_rejects import Picture, Refuser
from builders.formats.paths import first_present
from builders.formats.segmentation import Refusal, read_segmentations
from builders.formats.segmentation_maps import EIGHT_BIT, UnusableMap, read_label_map
from mixedparts import masks
from mixedparts.masks import Rle
from mixedparts.records import ImageRecord, Level, ObjectInstance, PartInstance, Reason, Reject
from mixedparts.sources.manifests import load_manifest

SHORT = {"train": "train", "validation": "val", "test": "test"}
_SYNSET_LETTERS = 9
_WHOLE_BACKGROUND = 158


class _Part(NamedTuple):
    """What a category means: a part of any class of one superclass."""

    superclass: str
    native: str


class SynsetSource(CocoSource):
    """Base of the readers with one object an image, whose class is the synset in the file name.

    Categories are `Superclass Part`, spelled as in the manifest of the reader's own name.
    """

    level = Level.PART

    @abstractmethod
    def whole_folder(self, split: str) -> str:
        """Return the folder of the PNGs with the object's pixels, relative to the root."""

    @staticmethod
    def image_key(record_id: str, file_name: str) -> str:
        """Return `image_id`: the file stem."""
        return PurePosixPath(file_name).stem

    @staticmethod
    def below(folder: str, short: str, name: PurePosixPath) -> Iterator[str]:
        """Yield where a picture may lie below a folder of one split.

        That is: flat, at its own path, in folders a synset, and each of them in a doubled folder.
        """
        synset = synset_of(name)
        yield f"{folder}/{name.name}"
        if len(name.parts) > 1:
            yield f"{folder}/{name}"
        for inner in (synset, short, f"{short}/{synset}", f"{synset}/{synset}"):
            yield f"{folder}/{inner}/{name.name}"

    def read_image(
        self,
        root: Path,
        index: CocoIndex,
        picture: Picture,
        annotations: Sequence[Annotation],
        refuse: Refuser,
    ) -> Iterator[ImageRecord | Reject]:
        """Yield the record of a usable picture: one object, and its parts."""
        synset = synset_of(picture.name)
        known = load_manifest(self.name).objects.get(synset)
        superclass = None if known is None else known.superclass
        parts: list[PartInstance] = []
        for outcome in _parts(
            _meanings(index, self.name), picture, annotations, refuse, superclass
        ):
            if isinstance(outcome, PartInstance):
                parts.append(outcome)
            else:
                yield outcome
        if known is None:
            detail = f"'{synset}' is none of the 158 classes"
            mask: Rle | Refusal = Refusal(Reason.UNKNOWN_CATEGORY, detail)
        else:
            mask, fault = _object_mask(root, self.whole_folder(refuse.split), picture, parts)
            if fault is not None:
                yield refuse(
                    Level.IMAGE, picture.record_id, Reason.UNREADABLE_OBJECT_MAP, str(fault)
                )
        if not isinstance(mask, Refusal):
            yield picture.record(refuse, [ObjectInstance(picture.record_id, synset, mask)], parts)
            return
        yield refuse(Level.OBJECT, picture.record_id, *mask)
        for part in parts:
            detail = f"the object of {picture.file_name}: {mask.reason}"
            yield refuse(Level.PART, part.id, Reason.ORPHAN_PART, detail)
        yield picture.record(refuse, (), ())


def synset_of(name: PurePosixPath) -> str:
    """Return the WordNet id that a file name begins with."""
    return name.name[:_SYNSET_LETTERS]


def _parts(
    meanings: Mapping[str, _Part],
    picture: Picture,
    annotations: Sequence[Annotation],
    refuse: Refuser,
    superclass: str | None,
) -> Iterator[PartInstance | Reject]:
    """Yield the usable parts, and rejects; where the image's class is unknown, any part is one."""
    raws = [item.segmentation for item in annotations]
    read = read_segmentations(raws, picture.width, picture.height)
    for item, segmentation in zip(annotations, read, strict=True):
        meaning = meanings.get(item.category_id)
        for dropped in segmentation.dropped:
            yield refuse(Level.POLYGON, item.id, *dropped)
        if meaning is None:
            detail = f"category {item.category_id}"
            yield refuse(Level.PART, item.id, Reason.UNKNOWN_CATEGORY, detail)
        elif superclass is not None and meaning.superclass != superclass:
            detail = f"{meaning.superclass} {meaning.native} of a {superclass}"
            yield refuse(Level.PART, item.id, Reason.PART_CLASS_MISMATCH, detail)
        elif isinstance(segmentation.mask, Refusal):
            yield refuse(Level.PART, item.id, *segmentation.mask)
        else:
            yield PartInstance(item.id, picture.record_id, meaning.native, segmentation.mask)


def _object_mask(
    root: Path, folder: str, picture: Picture, parts: Sequence[PartInstance]
) -> tuple[Rle | Refusal, UnusableMap | None]:
    """Return the object's pixels, from its whole PNG or as the union of its parts.

    The PNG's class numbers are not documented: whatever is not background is the object.
    """
    stem = picture.name.stem
    path = root / first_present(
        root, (f"{folder}/{stem}.png", f"{folder}/{stem[:_SYNSET_LETTERS]}/{stem}.png")
    )
    fault = None
    if path.is_file():
        try:
            labels = read_label_map(path, picture.width, picture.height, EIGHT_BIT)
        except UnusableMap as error:
            fault = error
        else:
            whole = masks.from_dense(labels != _WHOLE_BACKGROUND)
            if masks.area(whole) == 0:
                return Refusal(Reason.EMPTY_MASK, f"{path.name} is all background"), None
            return whole, None
    if not parts:
        return Refusal(Reason.MISSING_MASK, "no whole PNG and no usable part"), fault
    return masks.union([part.mask for part in parts]), fault


@lru_cache(maxsize=1)
def _meanings(index: CocoIndex, source: str) -> dict[str, _Part]:
    """Return category id as text -> the part it means; the file's own block is what counts."""
    found = {key: _meaning(category, source) for key, category in index.categories.items()}
    return {key: part for key, part in found.items() if part is not None}


def _meaning(category: Category, source: str) -> _Part | None:
    """Find a category by its name, bare part names by their supercategory, nameless ones by id."""
    by_name, by_id = _known_parts(source)
    if not category.name:
        return by_id.get(id_text(category.id) or "")
    whole_name = _letters(category.name)
    return by_name.get(whole_name) or by_name.get(_letters(category.supercategory) + whole_name)


@cache
def _known_parts(source: str) -> tuple[dict[str, _Part], dict[str, _Part]]:
    """Return the 40 part categories by the letters of their name, and by id as text."""
    by_name, by_id = {}, {}
    for item in load_manifest(source).objects.values():
        for part in item.parts:
            meaning = _Part(item.superclass, part.native)
            by_id[str(part.id)] = meaning
            by_name[_letters(f"{item.superclass} {part.native}")] = meaning
    return by_name, by_id


def _letters(name: str) -> str:
    """Return the name without case, spaces and signs; upstream's `Tier` is a tire."""
    words = "".join(letter for letter in name.casefold() if letter.isalpha())
    return words.removesuffix("tier") + "tire" if words.endswith("tier") else words
