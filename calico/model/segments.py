"""Which hidden state a mask is decoded from, and which image it belongs to.

Training and generation read [SEG] with the same function. Convention t-1: with [SEG] at position t,
its mask is decoded from the state at t-1, the one that PREDICTS [SEG], as in LISA, GLaMM and the
code of CALICO's first author. The state at t, which Sa2VA uses, would have seen the [SEG] itself,
but is missing where generation ends on it. Neither has seen the image tag: the tag, `(IMAGE1)`,
follows the [SEG]. The image comes from that tag, never from the order of the [SEG].
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

# Both are below 0, so that one comparison finds every [SEG] without an image.
UNTAGGED = -1  # no tag follows
UNKNOWN = -2  # the tag of an image that the sample does not have


@dataclass(frozen=True, slots=True)
class SegVocabulary:
    """Token ids that `read_segments` looks for.

    Attributes:
        seg: id of [SEG].
        tags: of each image, the ids that follow its [SEG]; without the closing bracket where the
            tokenizer splits it off. No tag may be the beginning of another.
    """

    seg: int
    tags: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class SegStates:
    """All [SEG] of a batch, ordered by sample and then by position.

    Attributes:
        states: (M, D), the states that predicted them.
        sample: (M,) int64, row of the batch.
        position: (M,) int64, column of the [SEG] in the tokens given to `read_segments`.
        image: (M,) int64, image number from 0 by the tag, else `UNTAGGED` or `UNKNOWN`.
    """

    states: Tensor
    sample: Tensor
    position: Tensor
    image: Tensor

    def bound(self) -> Tensor:
        """Return the image numbers (M,) int64; a [SEG] without a known tag is on the first."""
        return self.image.clamp_min(0)

    def bind(self, image: Tensor) -> SegStates:
        """Return the same states with other image numbers (M,) int64, as read from the text."""
        return replace(self, image=image)

    def select(self, index: Tensor) -> SegStates:
        """Return the [SEG] at `index`, (K,) int64 or (M,) bool."""
        return SegStates(
            self.states[index], self.sample[index], self.position[index], self.image[index]
        )


def read_segments(
    predicting: Tensor, tokens: Tensor, vocabulary: SegVocabulary, images: int
) -> SegStates:
    """Collect every [SEG] of a batch.

    Args:
        predicting: (B, T, D), in column t the state that predicts the token of column t: in
            training the hidden states without the last, in generation one state a step.
        tokens: (B, T) int64, the predicted tokens; padding where a [SEG] must not count.
        vocabulary: ids of [SEG] and of the tags.
        images: number of images a sample has.

    Returns:
        M of them; M may be 0.
    """
    # For each tag and every column at once: do the tokens after this column spell it? Columns
    # beyond the end match nothing, so a tag that is cut off binds no [SEG].
    image = torch.full_like(tokens, UNTAGGED)
    for number, tag in enumerate(vocabulary.tags):
        followed = torch.ones_like(tokens, dtype=torch.bool)
        for offset, token in enumerate(tag, start=1):
            ahead = torch.zeros_like(followed)
            ahead[:, :-offset] = tokens[:, offset:] == token
            followed &= ahead
        image[followed] = number if number < images else UNKNOWN
    # nonzero goes row by row: by sample, then in the order of the text.
    sample, position = (tokens == vocabulary.seg).nonzero(as_tuple=True)
    return SegStates(predicting[sample, position], sample, position, image[sample, position])
