"""The annotations of a COCO-style file: decoded one by one, their masks read for many images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import msgspec

from builders.bases.coco_index import Fault, malformed
from builders.formats.identifiers import Id, id_text
from builders.formats.image_rejects import ImageHeader
from builders.formats.json_file import UNREADABLE
from builders.formats.segmentation import Refusal, Segmentation, read_many
from mixedparts.records import Reason, Reject


class Annotation(NamedTuple):
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


class UnreadImage(NamedTuple):
    """An image of a chunk, whose masks are not read yet.

    Attributes:
        outcome: its header, or why it is refused.
        rejects: its annotations that do not decode or are duplicates.
        annotations: the others in file order.
        masks: the `segmentation` of each of these, as JSON.
    """

    outcome: ImageHeader | Fault
    rejects: list[Reject]
    annotations: list[Fields]
    masks: list[msgspec.Raw]


# The place of masks that are not needed.
UNREAD = Segmentation(Refusal(Reason.IMAGE_REJECTED, ""))


def with_masks(images: Sequence[UnreadImage]) -> Iterator[list[Annotation]]:
    """Yield the annotations of each image with their masks; those of refused images without."""
    raws: list[msgspec.Raw] = []
    sizes: list[tuple[int, int]] = []
    for outcome, _, _, masks in images:
        if isinstance(outcome, ImageHeader):
            raws += masks
            sizes += [(outcome.height, outcome.width)] * len(masks)
    read = iter(read_many(raws, sizes))
    for outcome, _, found, _ in images:
        unread = not isinstance(outcome, ImageHeader)
        yield [Annotation(*item, UNREAD if unread else next(read)) for item in found]


_NO_FIELDS: Fields = ("", "", None)
_NO_MASK = msgspec.Raw(b"null")


@cache
def _annotation_fields(link_key: str) -> Callable[[memoryview], Any]:
    """Return the decoder of annotations whose link to their object is under `link_key`."""
    # The key is only known at run time for sources that a YAML describes, so the type is made here.
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = [
        ("id", Id),
        ("image_id", Id),
        ("category_id", Id),
        ("segmentation", msgspec.Raw, _NO_MASK),
        ("link", Any, None),
    ]
    # Not tracked: the garbage collector would look at each of them in vain.
    kind = msgspec.defstruct("_AnnotationFields", fields, rename={"link": link_key}, gc=False)
    return msgspec.json.Decoder(kind).decode


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
        fields = _annotation_fields(link_key)(raw)
    except UNREADABLE as error:
        return malformed(raw, position, error), _NO_FIELDS, _NO_MASK
    own, category = id_text(fields.id), id_text(fields.category_id)
    if own is None or category is None:
        why = "id or category_id is not an id"
        return malformed(raw, position, why), _NO_FIELDS, _NO_MASK
    return None, (own, category, fields.link), fields.segmentation
