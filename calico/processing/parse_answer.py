"""Parse generated answers: every [SEG] with its phrase and its image, or why it has no image.

A mask belongs to a [SEG] *token*. Text that only looks like one, a [SEG] inside a phrase or a
broken tag must not shift the masks that follow to another phrase or image. Answers are therefore
parsed token by token, not from their text alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from transformers import PreTrainedTokenizerBase

from calico.processing.tokenizer import PHRASE, PHRASE_END, SEG, decode
from mixedparts.text.answers import label_of

_TAG = re.compile(r"\(IMAGE([0-9]+)\)")
_TAG_LIKE = ("(", "IMAGE")


class Binding(Enum):
    """How a [SEG] names its image."""

    TAGGED = "tagged"
    UNTAGGED = "untagged"  # no tag follows
    UNKNOWN_IMAGE = "unknown_image"  # the tag of an image that the sample does not have
    MALFORMED_TAG = "malformed_tag"  # a broken tag follows, or the answer was cut off there


@dataclass(frozen=True, slots=True)
class Grounded:
    """One [SEG] token.

    Attributes:
        label: of the phrase before it, without article; "" if there is none.
        image: index of the image that its mask is in, from 0; None if it has no mask.
        binding: how the image was found, or why it was not.
    """

    label: str
    image: int | None
    binding: Binding


@dataclass(frozen=True, slots=True)
class Reading:
    """A parsed answer.

    Attributes:
        text: up to the end token.
        grounded: one for each [SEG] token, in order.
        spelled: how often the text [SEG] occurs without being the token; it has no mask.
    """

    text: str
    grounded: tuple[Grounded, ...]
    spelled: int

    def count(self, binding: Binding) -> int:
        """Return how many [SEG] tokens name their image this way."""
        return sum(one.binding is binding for one in self.grounded)


def parse_generated(
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[int],
    seg: int,
    images: int,
    untagged: Literal["first_image", "drop"] = "first_image",
) -> Reading:
    """Parse generated ids; any sequence is accepted.

    Args:
        tokenizer: of the model that generated them.
        ids: of one answer; everything after the end token is ignored.
        seg: id of [SEG].
        images: number of images of the sample.
        untagged: "first_image" gives a [SEG] without any tag the first image, as the authors' code
            does; "drop" gives it none.

    Returns:
        The text, and every [SEG] token with its label and image.
    """
    ended = tokenizer.eos_token_id in ids
    generated = list(ids[: ids.index(tokenizer.eos_token_id)]) if ended else list(ids)
    # Cut at the tokens, then decode: piece 0 is before the first [SEG], piece n after the n-th.
    pieces: list[list[int]] = [[]]
    for index in generated:
        if index == seg:
            pieces.append([])
        else:
            pieces[-1].append(index)
    texts = [decode(tokenizer, piece) for piece in pieces]
    before = texts[0]
    grounded = []
    for number, after in enumerate(texts[1:], 1):
        # Generation stopped right after this [SEG]: whether a tag would have come is not known.
        cut = not ended and number == len(texts) - 1 and not after
        image, binding = _bound(after, images, cut)
        if binding is Binding.UNTAGGED and untagged == "first_image":
            image = 0
        grounded.append(Grounded(_label(before), image, binding))
        # The phrase stays in `before`: several [SEG] may follow one phrase, one for each image.
        before += " " + _TAG.sub("", after)
    return Reading(
        decode(tokenizer, generated), tuple(grounded), sum(text.count(SEG) for text in texts)
    )


def _bound(after: str, images: int, cut: bool) -> tuple[int | None, Binding]:
    """Return image and binding of a [SEG] from the text after it."""
    tag = _TAG.match(after)
    if tag is None:
        malformed = cut or after.startswith(_TAG_LIKE)
        return None, Binding.MALFORMED_TAG if malformed else Binding.UNTAGGED
    # A model can generate digits without end; Python refuses to convert more than 4,300 of them.
    digits = tag[1].lstrip("0")
    if not digits or len(digits) > 9 or int(digits) > images:
        return None, Binding.UNKNOWN_IMAGE
    return int(digits) - 1, Binding.TAGGED


def _label(before: str) -> str:
    """Return the label of the last phrase, "" if the last one that opened was not closed."""
    end = before.rfind(PHRASE_END)
    start = before.rfind(PHRASE, 0, max(end, 0))
    if start < 0 or before.rfind(PHRASE) > end:
        return ""
    return label_of(before[start + len(PHRASE) : end])
