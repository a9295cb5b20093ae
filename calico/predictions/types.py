"""What a model says about a sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mixedparts.masks import Rle

Sizes = Sequence[tuple[int, int]]
"""(height, width) in pixels of each image of a sample."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One grounded mask: what one `[SEG]` stands for.

    Attributes:
        label: the noun phrase that it belongs to, without article.
        image: which image of the sample, from 0.
        mask: foreground of the image in its original size.
        score: the model's confidence; only the `scored` variant of AP50 reads it.
    """

    label: str
    image: int
    mask: Rle
    score: float = 1.0


@dataclass(frozen=True, slots=True)
class Prediction:
    """A model's answer to one sample.

    Attributes:
        id: the sample's id.
        answer: generated text, as it came.
        segments: one a mask, in the order of generation.
        untagged: how many `[SEG]` named no image and were bound to the first.
        unknown_image: how many named an image that there is not; not drawn.
        malformed_tag: how many were followed by a tag that cannot be read; not drawn.
        unnamed: how many had no phrase before them; drawn without a label.
        spelled: how many stood as plain text instead of the token; not drawn.
        over_limit: how many exceeded the number of masks of an answer; not drawn.
        unfinished: 1 where the answer reached the limit of tokens, else 0.
    """

    id: str
    answer: str
    segments: tuple[Segment, ...]
    untagged: int = 0
    unknown_image: int = 0
    malformed_tag: int = 0
    unnamed: int = 0
    spelled: int = 0
    over_limit: int = 0
    unfinished: int = 0


# What may be wrong with an answer, each with the words that a report uses for it.
COUNTED = {
    "untagged": "[SEG] named no image (read on the first unless prompt.untagged is drop)",
    "unknown_image": "[SEG] named an image that there is not and were not drawn",
    "malformed_tag": "[SEG] had a tag that cannot be read and were not drawn",
    "unnamed": "[SEG] followed no phrase and have no label",
    "spelled": "[SEG] were written as plain text and not drawn",
    "over_limit": "[SEG] exceeded generation.max_masks and were not drawn",
    "unfinished": "answers reached generation.max_new_tokens before they ended",
}


class InvalidPrediction(ValueError):
    """A prediction that cannot belong to its sample."""


def check_prediction(prediction: Prediction, sizes: Sizes) -> None:
    """Prove that every segment lies in one of the sample's images.

    Raises:
        InvalidPrediction: an image number, mask size or score that cannot be.
    """
    for position, segment in enumerate(prediction.segments):
        where = f"segment {position} ('{segment.label}')"
        check_place(where, segment.image, (segment.mask.height, segment.mask.width), sizes)
        if not math.isfinite(segment.score):
            raise InvalidPrediction(f"{where}: its score is {segment.score}")


def check_place(where: str, image: int, size: tuple[int, int], sizes: Sizes) -> None:
    """Prove that a mask of `size` (height, width) fits the image that it names.

    Raises:
        InvalidPrediction: there is no such image, or it has another size.
    """
    if not 0 <= image < len(sizes):
        raise InvalidPrediction(
            f"{where}: there is no image {image}, the sample has {len(sizes)} (counted from 0)"
        )
    if size != tuple(sizes[image]):
        raise InvalidPrediction(
            f"{where}: its mask is {size[0]} x {size[1]} (h x w), the image is"
            f" {sizes[image][0]} x {sizes[image][1]}"
        )
