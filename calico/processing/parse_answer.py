"""What a generated answer says: every [SEG] with its phrase and its image, or why it has none.

A mask belongs to a [SEG] *token*. Text that merely looks like one, a [SEG] inside a phrase and a
broken tag must not move the masks that follow to another phrase or image, so answers are read
token by token and not from their text alone.
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
    UNKNOWN_IMAGE = "unknown_image"  # a tag, but of an image that there is not
    MALFORMED_TAG = "malformed_tag"  # a bracket that is no tag, or the answer was cut off there


@dataclass(frozen=True, slots=True)
class Grounded:
    """One [SEG] token.

    Attributes:
        label: of the phrase before it, without article; "" where there is none.
        image: that its mask is drawn on, from 0; None where it is not drawn.
        binding: why.
    """

    label: str
    image: int | None
    binding: Binding


@dataclass(frozen=True, slots=True)
class Reading:
    """A read answer.

    Attributes:
        text: up to the end token.
        grounded: one a [SEG] token, in order.
        spelled: text that reads [SEG] without being the token; it has no mask.
    """

    text: str
    grounded: tuple[Grounded, ...]
    spelled: int

    def count(self, binding: Binding) -> int:
        """Return how many [SEG] tokens name their image this way."""
        return sum(one.binding is binding for one in self.grounded)


def read_answer(
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[int],
    seg: int,
    images: int,
    untagged: Literal["first_image", "drop"] = "first_image",
) -> Reading:
    """Read generated ids; any sequence is accepted.

    Args:
        tokenizer: that the model was trained with.
        ids: of one answer; what follows the end token is left out.
        seg: id of [SEG].
        images: of the sample.
        untagged: where a [SEG] without any tag is drawn.
    """
    ended = tokenizer.eos_token_id in ids
    spoken = list(ids[: ids.index(tokenizer.eos_token_id)]) if ended else list(ids)
    pieces: list[list[int]] = [[]]
    for index in spoken:
        if index == seg:
            pieces.append([])
        else:
            pieces[-1].append(index)
    texts = [decode(tokenizer, piece) for piece in pieces]
    before = texts[0]
    grounded = []
    for number, after in enumerate(texts[1:], 1):
        cut = not ended and number == len(texts) - 1 and not after
        image, binding = _bound(after, images, cut)
        if binding is Binding.UNTAGGED and untagged == "first_image":
            image = 0
        grounded.append(Grounded(_label(before), image, binding))
        before += " " + _TAG.sub("", after)
    return Reading(
        decode(tokenizer, spoken), tuple(grounded), sum(text.count(SEG) for text in texts)
    )


def _bound(after: str, images: int, cut: bool) -> tuple[int | None, Binding]:
    """Return image and binding of a [SEG] from the text after it."""
    tag = _TAG.match(after)
    if tag is None:
        malformed = cut or after.startswith(_TAG_LIKE)
        return None, Binding.MALFORMED_TAG if malformed else Binding.UNTAGGED
    digits = tag[1].lstrip("0")
    if not digits or len(digits) > 9 or int(digits) > images:
        return None, Binding.UNKNOWN_IMAGE
    return int(digits) - 1, Binding.TAGGED


def _label(before: str) -> str:
    """Return the label of the last phrase, "" where none was closed since the last one opened."""
    end = before.rfind(PHRASE_END)
    start = before.rfind(PHRASE, 0, max(end, 0))
    if start < 0 or before.rfind(PHRASE) > end:
        return ""
    return label_of(before[start + len(PHRASE) : end])
