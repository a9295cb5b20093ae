"""The annotations of a COCO-style file: decoded one by one, their masks read for many images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import accumulate, pairwise, repeat
from typing import Any, NamedTuple

import msgspec

from builders.bases.coco_index import Fault, malformed
from builders.formats.identifiers import Id, id_text
from builders.formats.image_rejects import ImageHeader
from builders.formats.json_file import UNREADABLE
from builders.formats.segmentation import Refusal, Segmentation, read_many
from mixedparts.records import Reason, Reject


class Annotation(msgspec.Struct, frozen=True, gc=False):
    """A readable annotation of one image.

    Attributes:
        id: upstream id as text.
        category_id: upstream id as text.
        link: the value under `CocoSource.link_key`, not checked.
        segmentation: its mask, or why that is refused.
    """

    id: str
    category_id: str
    link: Any
    segmentation: Segmentation


Fields = tuple[str, str, Any]
"""Id, category id and link of an annotation, as in `Annotation`."""


class Columns(NamedTuple):
    """Annotations whose masks are not read yet, in file order.

    Attributes:
        ids, category_ids: upstream ids as text.
        links: values under `CocoSource.link_key`, not checked.
        masks: the values of `segmentation`, as JSON.
    """

    ids: list[str]
    category_ids: list[str]
    links: list[Any]
    masks: list[msgspec.Raw]

    def add(self, fields: Fields, mask: msgspec.Raw) -> None:
        """Append an annotation."""
        self.ids.append(fields[0])
        self.category_ids.append(fields[1])
        self.links.append(fields[2])
        self.masks.append(mask)

    def cut(self, counts: Sequence[int]) -> list[Columns]:
        """Return the annotations in lots of so many each."""
        ids, category_ids, links, masks = self
        ends = pairwise(accumulate(counts, initial=0))
        return [Columns(ids[a:b], category_ids[a:b], links[a:b], masks[a:b]) for a, b in ends]


class UnreadImage(NamedTuple):
    """An image of a chunk, whose masks are not read yet.

    Attributes:
        outcome: its header, or why it is refused.
        rejects: its annotations that do not decode or are duplicates.
        annotations: the others.
    """

    outcome: ImageHeader | Fault
    rejects: list[Reject]
    annotations: Columns


# The place of masks that are not needed.
UNREAD = Segmentation(Refusal(Reason.IMAGE_REJECTED, ""))


def with_masks(images: Sequence[UnreadImage]) -> Iterator[list[Annotation]]:
    """Yield the annotations of each image with their masks; those of refused images without."""
    raws: list[msgspec.Raw] = []
    sizes: list[tuple[int, int]] = []
    for outcome, _, (_, _, _, masks) in images:
        if isinstance(outcome, ImageHeader):
            raws += masks
            sizes += [(outcome.height, outcome.width)] * len(masks)
    read = iter(read_many(raws, sizes))
    for outcome, _, (ids, category_ids, links, _) in images:
        found = read if isinstance(outcome, ImageHeader) else repeat(UNREAD)
        # The ids come first: `map` stops at the end of them, before it takes a mask too many.
        yield list(map(Annotation, ids, category_ids, links, found))


_NO_FIELDS: Fields = ("", "", None)
_NO_MASK = msgspec.Raw(b"null")


@cache
def _annotation_fields(link_key: str) -> Any:
    """Return the type of annotations whose link to their object is under `link_key`."""
    # The key is only known at run time for sources that a YAML describes, so the type is made here.
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = [
        ("id", Id),
        ("image_id", Id),
        ("category_id", Id),
        ("segmentation", msgspec.Raw, _NO_MASK),
        ("link", Any, None),
    ]
    # Not tracked: the garbage collector would look at each of them in vain.
    return msgspec.defstruct("_AnnotationFields", fields, rename={"link": link_key}, gc=False)


@cache
def _decoder(link_key: str, many: bool) -> Callable[[bytes | memoryview], Any]:
    """Return the decoder of an annotation, or of a list of them."""
    kind = _annotation_fields(link_key)
    # The type is made at run time, which mypy takes for a mistake.
    return msgspec.json.Decoder(list[kind] if many else kind).decode  # type: ignore[valid-type]


def annotations_of(raws: Sequence[memoryview], link_key: str) -> Columns | None:
    """Decode annotations, but for their masks, in one call for all of them.

    Args:
        raws: the records as JSON.
        link_key: key of the link to an annotation's object.

    Returns:
        The annotations; None if `annotation_of` would refuse any of them.
    """
    try:
        found = _decoder(link_key, True)(b"[" + b",".join(raws) + b"]")
        ids = _texts([item.id for item in found])
        category_ids = _texts([item.category_id for item in found])
    except UNREADABLE:
        return None
    if ids is None or category_ids is None:
        return None
    links = [item.link for item in found]
    return Columns(ids, category_ids, links, [item.segmentation for item in found])


def _texts(values: list[Any]) -> list[str] | None:
    """Return `id_text` of each value; None if any is not an id."""
    if set(map(type, values)) == {int}:
        return list(map(str, values))
    texts = [text for text in map(id_text, values) if text is not None]
    return texts if len(texts) == len(values) else None


def annotation_of(
    raw: memoryview, position: int, link_key: str
) -> tuple[Fault | None, Fields, msgspec.Raw]:
    """Decode an annotation, but for its mask.

    Args:
        raw: the record as JSON.
        position: its position in its list.
        link_key: key of its link to its object.

    Returns:
        Why it is refused, None if it is not; id, category id and link; and its `segmentation`.
    """
    try:
        fields = _decoder(link_key, False)(raw)
    except UNREADABLE as error:
        return malformed(raw, position, error), _NO_FIELDS, _NO_MASK
    own, category = id_text(fields.id), id_text(fields.category_id)
    if own is None or category is None:
        why = "id or category_id is not an id"
        return malformed(raw, position, why), _NO_FIELDS, _NO_MASK
    return None, (own, category, fields.link), fields.segmentation
