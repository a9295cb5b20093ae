"""Which hidden state a mask is decoded from, and which image it belongs to.

The one reader of [SEG], in training and in generation. Convention t-1: a mask comes from the state
that PREDICTS [SEG], so the vector has not yet seen its own image tag. The image comes from the tag
after the [SEG], `(IMAGE1)`, never from its position in the text.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

UNTAGGED = -1  # no tag follows
UNKNOWN = -2  # the tag of an image that the sample does not have


@dataclass(frozen=True, slots=True)
class SegVocabulary:
    """Token ids that the reader looks for.

    Attributes:
        seg: id of [SEG].
        tags: for every image the ids that follow a [SEG] bound to it, closing bracket left out
            where a tokenizer splits it off. No tag may be the beginning of another.
    """

    seg: int
    tags: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class SegStates:
    """All [SEG] of a batch, by sample and then by position.

    Attributes:
        states: (M, D), the states that predicted them.
        sample: (M,) int64, row of the batch.
        position: (M,) int64, column of the [SEG] in the tokens that were read.
        image: (M,) int64, image number from 0 by the tag, else `UNTAGGED` or `UNKNOWN`.
    """

    states: Tensor
    sample: Tensor
    position: Tensor
    image: Tensor

    def bound(self) -> Tensor:
        """Return the image numbers (M,), with a [SEG] that has no known tag on the first image."""
        return self.image.clamp_min(0)

    def bind(self, image: Tensor) -> SegStates:
        """Return the same states on other images (M,) int64, as an answer's text says."""
        return replace(self, image=image)

    def select(self, index: Tensor) -> SegStates:
        """Return some of them; `index` is (K,) int64 or (M,) bool."""
        return SegStates(
            self.states[index], self.sample[index], self.position[index], self.image[index]
        )


def read_segments(
    predicting: Tensor, tokens: Tensor, vocabulary: SegVocabulary, images: int
) -> SegStates:
    """Collect every [SEG] of a batch.

    Args:
        predicting: (B, T, D), at each place the state that predicts the token of that place: in
            training the hidden states without the last, in generation one state a step.
        tokens: (B, T) int64, the predicted tokens; no id of the vocabulary where nothing counts.
        vocabulary: what to look for.
        images: number of images a sample has.
    """
    image = torch.full_like(tokens, UNTAGGED)
    for number, tag in enumerate(vocabulary.tags):
        found = torch.ones_like(tokens, dtype=torch.bool)
        for offset, token in enumerate(tag, start=1):
            ahead = torch.zeros_like(found)
            ahead[:, :-offset] = tokens[:, offset:] == token
            found &= ahead
        image[found] = number if number < images else UNKNOWN
    sample, position = (tokens == vocabulary.seg).nonzero(as_tuple=True)
    return SegStates(predicting[sample, position], sample, position, image[sample, position])
