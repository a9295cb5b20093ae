"""Outcomes of the [SEG] of an answer: which get a mask, and counts of everything irregular."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from calico.predictions.types import COUNTED, Prediction, Segment
from calico.processing.parse_answer import Binding, Reading


@dataclass(slots=True)
class Outcomes:
    """Counts over all answers of a predictor.

    Attributes:
        answers: number of answers.
        unfinished: answers that reached the limit of tokens before they ended.
        without_masks: answers without any [SEG] that could be drawn.
        untagged: [SEG] without a tag, drawn on the first image unless configured otherwise.
        unknown_image: [SEG] with the tag of an image that does not exist; not drawn.
        malformed_tag: [SEG] with a tag that cannot be read, or cut off before it; not drawn.
        unnamed: [SEG] without a phrase before them; drawn without a label.
        spelled: [SEG] as plain text instead of the token; not drawn.
        over_limit: [SEG] beyond the configured number of masks of an answer; not drawn.
    """

    answers: int = 0
    unfinished: int = 0
    without_masks: int = 0
    untagged: int = 0
    unknown_image: int = 0
    malformed_tag: int = 0
    unnamed: int = 0
    spelled: int = 0
    over_limit: int = 0

    def count(self, prediction: Prediction) -> None:
        """Add one answer."""
        self.answers += 1
        self.without_masks += not prediction.segments
        # The fields of a prediction and of these counts have the same names.
        for name in COUNTED:
            setattr(self, name, getattr(self, name) + getattr(prediction, name))


@dataclass(frozen=True, slots=True)
class Mark:
    """A [SEG] that gets a mask.

    Attributes:
        label: of its phrase, "" where there is none.
        image: number of its image, from 0.
    """

    label: str
    image: int


def drawn_marks(reading: Reading, limit: int) -> list[Mark | None]:
    """Return the mark of each [SEG], None where it gets no mask; at most `limit` get one."""
    # One entry a [SEG] token, also for those without a mask: the caller selects hidden states by
    # position, and a left out entry would move all later masks to other phrases.
    marks: list[Mark | None] = []
    count = 0
    for grounded in reading.grounded:
        count += grounded.image is not None
        hidden = grounded.image is None or count > limit
        marks.append(None if hidden else Mark(grounded.label, grounded.image or 0))
    return marks


def counted_prediction(
    name: str, reading: Reading, segments: tuple[Segment, ...], limit: int, finished: bool
) -> Prediction:
    """Return a prediction with counts of everything irregular in its answer.

    Args:
        name: id of the sample.
        reading: the answer as it was read.
        segments: its masks.
        limit: greatest number of masks of an answer.
        finished: whether the answer ended before the limit of tokens.

    Returns:
        The prediction.
    """
    placed = [grounded for grounded in reading.grounded if grounded.image is not None]
    return Prediction(
        name,
        reading.text,
        segments,
        untagged=reading.count(Binding.UNTAGGED),
        unknown_image=reading.count(Binding.UNKNOWN_IMAGE),
        malformed_tag=reading.count(Binding.MALFORMED_TAG),
        unnamed=sum(not grounded.label for grounded in placed),
        spelled=reading.spelled,
        over_limit=max(0, len(placed) - limit),
        unfinished=int(not finished),
    )


def mask_scores(logits: Tensor) -> list[float]:
    """Return the mean probability inside each mask of (M, g, g) logits, 0 for an empty one."""
    # Not from the IoU head of SAM's decoder, which no loss trains here.
    probability = logits.sigmoid().flatten(1)
    inside = (logits > 0).flatten(1)
    mean = (probability * inside).sum(1) / inside.sum(1).clamp_min(1)
    scores: list[float] = mean.tolist()
    return scores
