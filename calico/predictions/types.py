"""Predictions of a model: answers with their masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mixedparts.masks import Rle

Sizes = Sequence[tuple[int, int]]
"""(height, width) in pixels of each image of a sample."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One mask of an answer: the meaning of one `[SEG]`.

    Attributes:
        label: noun phrase that it belongs to, without article.
        image: number of its image in the sample, from 0.
        mask: in the original size of the image.
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
        answer: generated text, unchanged.
        segments: one a mask, in the order of generation.
        untagged: number of `[SEG]` without a tag, read on the first image unless configured
            otherwise.
        unknown_image: number of `[SEG]` with the tag of an image that does not exist; not drawn.
        malformed_tag: number of `[SEG]` with a tag that cannot be read; not drawn.
        unnamed: number of `[SEG]` without a phrase before them; drawn without a label.
        spelled: number of `[SEG]` written as plain text instead of the token; not drawn.
        over_limit: number of `[SEG]` beyond the limit of masks of an answer; not drawn.
        unfinished: 1 if the answer reached the limit of tokens, else 0.
        synthetic: the model was trained on synthetic images; False also if unknown.
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
    synthetic: bool = False


# Fields of a prediction that count irregular answers, each with the words that a report uses. The
# names are also keys of the predictions file and of evaluation reports.
COUNTED = {
    "untagged": "[SEG] named no image (read on the first unless prompt.untagged is drop)",
    "unknown_image": "[SEG] named an image that does not exist and were not drawn",
    "malformed_tag": "[SEG] had a tag that cannot be read and were not drawn",
    "unnamed": "[SEG] followed no phrase and have no label",
    "spelled": "[SEG] were written as plain text and not drawn",
    "over_limit": "[SEG] exceeded generation.max_masks and were not drawn",
    "unfinished": "answers reached generation.max_new_tokens before they ended",
}


# What every output says of a model that was trained on images of `mixedparts sample`: the sentence
# for people, and the key of the predictions file, prediction.json and the JSON of an evaluation.
SYNTHETIC_NOTE = "was trained on synthetic images: expect nothing of its answers about photographs."
SYNTHETIC_KEY = "trained_on_synthetic_images"


class InvalidPrediction(ValueError):
    """Raised for a prediction that cannot belong to its sample."""


def check_prediction(prediction: Prediction, sizes: Sizes) -> None:
    """Check that every segment is in one of the sample's images.

    Raises:
        InvalidPrediction: an image does not exist, a mask has another size than its image, or a
            score is not finite.
    """
    for position, segment in enumerate(prediction.segments):
        where = f"segment {position} ('{segment.label}')"
        check_place(where, segment.image, (segment.mask.height, segment.mask.width), sizes)
        # AP sorts by score, and NaN has no place in an order.
        if not math.isfinite(segment.score):
            raise InvalidPrediction(f"{where}: its score is {segment.score}")


def check_place(where: str, image: int, size: tuple[int, int], sizes: Sizes) -> None:
    """Check that a mask fits the image that it names.

    Args:
        where: words for the segment, at the start of the message.
        image: number of the image, from 0.
        size: (height, width) of the mask in pixels.
        sizes: of the sample's images.

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
