"""PartImageNet (Seg): polygons of parts, one object an image, its class in the file name.

Source of the format: the published loaders of PartImageNet_Seg (VLPart, WPS-SAM, pdiscoformer).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from builders.coco_index import Category, CocoIndex
from builders.coco_source import Annotation, CocoSource, Picture, Refuser, SplitFiles
from builders.identifiers import id_text
from builders.maps import EIGHT_BIT, UnusableMap, read_label_map
from builders.paths import first_present
from builders.segmentation import Refusal, read_segmentations
from mixedparts import masks
from mixedparts.masks import Rle
from mixedparts.records import ImageRecord, Level, ObjectInstance, PartInstance, Reason, Reject
from mixedparts.taxonomy import load_manifest

_SHORT = {"train": "train", "validation": "val", "test": "test"}
_BASE = "PartImageNet"
_SYNSET_LETTERS = 9
_WHOLE_BACKGROUND = 158


class _Part(NamedTuple):
    """What a category means: a part of any class of one superclass."""

    superclass: str
    native: str


class PartImageNetSource(CocoSource):
    """Reader of `annotations/{split}/{split}.json` and the `{split}_whole` PNGs."""

    name = "partimagenet"
    version = "1"
    level = Level.PART

    def layout(self, root: Path) -> str:
        """Return the tree of files that the source is looked for in."""
        return (
            f"{root}/\n"
            "  PartImageNet/images/{train,val,test}/*.JPEG\n"
            "  PartImageNet/annotations/{train,val,test}/{train,val,test}.json\n"
            "  PartImageNet/annotations/{train,val,test}_whole/*.png   (optional)"
        )

    def files(self, root: Path, split: str) -> SplitFiles:
        """Say where a split lies; the whole PNGs are optional."""
        short = _SHORT[split]
        return SplitFiles(
            f"{_BASE}/annotations/{short}/{short}.json",
            (f"{_BASE}/images/{short}",),
            (f"{_BASE}/annotations/{short}_whole",),
        )

    @staticmethod
    def image_key(record_id: str, file_name: str) -> str:
        """Return `image_id`: the file stem."""
        return PurePosixPath(file_name).stem

    def picture_paths(self, split: str, name: PurePosixPath) -> Iterator[str]:
        """Yield the flat place, then folders a synset, then both with the doubled folder."""
        short, synset = _SHORT[split], name.name[:_SYNSET_LETTERS]
        base = f"{_BASE}/images/{short}"
        yield f"{base}/{name.name}"
        if len(name.parts) > 1:
            yield f"{base}/{name}"
        for folder in (synset, short, f"{short}/{synset}", f"{synset}/{synset}"):
            yield f"{base}/{folder}/{name.name}"

    def read_image(
        self,
        root: Path,
        index: CocoIndex,
        picture: Picture,
        annotations: Sequence[Annotation],
        refuse: Refuser,
    ) -> Iterator[ImageRecord | Reject]:
        """Yield the record of a usable picture: one object, and its parts."""
        synset = picture.name.name[:_SYNSET_LETTERS]
        known = load_manifest("partimagenet").objects.get(synset)
        superclass = None if known is None else known.superclass
        parts: list[PartInstance] = []
        for outcome in _parts(index, picture, annotations, refuse, superclass):
            if isinstance(outcome, PartInstance):
                parts.append(outcome)
            else:
                yield outcome
        if known is None:
            detail = f"'{synset}' is none of the 158 classes"
            mask: Rle | Refusal = Refusal(Reason.UNKNOWN_CATEGORY, detail)
        else:
            mask, fault = _object_mask(root, refuse.split, picture, parts)
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


def _parts(
    index: CocoIndex,
    picture: Picture,
    annotations: Sequence[Annotation],
    refuse: Refuser,
    superclass: str | None,
) -> Iterator[PartInstance | Reject]:
    """Yield the usable parts, and rejects; where the image's class is unknown, any part is one."""
    meanings = _meanings(index)
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
    root: Path, split: str, picture: Picture, parts: Sequence[PartInstance]
) -> tuple[Rle | Refusal, UnusableMap | None]:
    """Return the object's pixels, from its whole PNG or as the union of its parts.

    The PNG's class numbers are not documented: whatever is not background is the object.
    """
    folder = f"{_BASE}/annotations/{_SHORT[split]}_whole"
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
def _meanings(index: CocoIndex) -> dict[str, _Part]:
    """Return category id as text -> the part it means; the file's own block is what counts."""
    found = {key: _meaning(category) for key, category in index.categories.items()}
    return {key: part for key, part in found.items() if part is not None}


def _meaning(category: Category) -> _Part | None:
    """Find a category by its name, bare part names by their supercategory, nameless ones by id."""
    by_name, by_id = _known_parts()
    if not category.name:
        return by_id.get(id_text(category.id) or "")
    whole_name = _letters(category.name)
    return by_name.get(whole_name) or by_name.get(_letters(category.supercategory) + whole_name)


@cache
def _known_parts() -> tuple[dict[str, _Part], dict[str, _Part]]:
    """Return the 40 part categories by the letters of their name, and by id as text."""
    by_name, by_id = {}, {}
    for item in load_manifest("partimagenet").objects.values():
        for part in item.parts:
            meaning = _Part(item.superclass, part.native)
            by_id[str(part.id)] = meaning
            by_name[_letters(f"{item.superclass} {part.native}")] = meaning
    return by_name, by_id


def _letters(name: str) -> str:
    """Return the name without case, spaces and signs; upstream's `Tier` is a tire."""
    words = "".join(letter for letter in name.casefold() if letter.isalpha())
    return words.removesuffix("tier") + "tire" if words.endswith("tier") else words
