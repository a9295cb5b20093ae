"""What becomes of the [SEG] of an answer: drawn or not, and everything else counted."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from calico.predictions.types import COUNTED, Prediction, Segment
from calico.processing.parse_answer import Binding, Reading


@dataclass(slots=True)
class Outcomes:
    """How the answers of a predictor came out, counted over all its predictions.

    Attributes:
        answers: all of them.
        unfinished: reached the limit of tokens before they ended.
        without_masks: held no [SEG] that could be drawn.
        untagged: [SEG] without a tag, drawn on the first image unless configured otherwise.
        unknown_image: [SEG] with the tag of an image that there is not; not drawn.
        malformed_tag: [SEG] with a tag that cannot be read, or cut off before it; not drawn.
        unnamed: [SEG] that no phrase precedes; drawn without a label.
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
        for name in COUNTED:
            setattr(self, name, getattr(self, name) + getattr(prediction, name))


@dataclass(frozen=True, slots=True)
class Mark:
    """A [SEG] that is drawn."""

    label: str
    image: int


def drawn_marks(reading: Reading, limit: int) -> list[Mark | None]:
    """Return for each [SEG] what is drawn; at most `limit` are."""
    marks: list[Mark | None] = []
    count = 0
    for one in reading.grounded:
        count += one.image is not None
        hidden = one.image is None or count > limit
        marks.append(None if hidden else Mark(one.label, one.image or 0))
    return marks


def counted_prediction(
    name: str, reading: Reading, found: tuple[Segment, ...], limit: int, finished: bool
) -> Prediction:
    """Return a prediction with everything counted that was not as it should be."""
    placed = [one for one in reading.grounded if one.image is not None]
    return Prediction(
        name,
        reading.text,
        found,
        untagged=reading.count(Binding.UNTAGGED),
        unknown_image=reading.count(Binding.UNKNOWN_IMAGE),
        malformed_tag=reading.count(Binding.MALFORMED_TAG),
        unnamed=sum(not one.label for one in placed),
        spelled=reading.spelled,
        over_limit=max(0, len(placed) - limit),
        unfinished=int(not finished),
    )


def mask_scores(logits: Tensor) -> list[float]:
    """Return the mean probability inside each mask of (M, g, g) logits, 0 for an empty one."""
    chance = logits.sigmoid().flatten(1)
    inside = (logits > 0).flatten(1)
    mean = (chance * inside).sum(1) / inside.sum(1).clamp_min(1)
    scores: list[float] = mean.tolist()
    return scores
