"""What goes into the assembled model: token ids it knows, prompts, training batches.

Shapes: B samples of I images each, N = B * I images in sample order; T positions; T_i image
tokens an image; M masks.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from calico.model.losses import Counts
from calico.model.segments import SegVocabulary
from calico.model.vision import ImageFeatures


@dataclass(frozen=True, slots=True)
class TokenIds:
    """Ids of the tokens that the model itself has to know.

    Attributes:
        pad, end, image: single tokens.
        segments: [SEG] and the tags of images.
        new: tokens that a pretrained language model did not have.
        markers: further tokens that stand in prompts only: the begin token, those around images.
        reader: what cuts the question into tokens for a Q-Former that sees it.
    """

    pad: int
    end: int
    image: int
    segments: SegVocabulary
    new: tuple[int, ...] = ()
    markers: tuple[int, ...] = ()
    reader: PreTrainedTokenizerBase | None = field(default=None, compare=False)

    @property
    def suppressed(self) -> list[int]:
        """Tokens that no answer may hold.

        A generated placeholder would stand for a picture that there is not, and the text of an
        answer leaves padding out. No answer of the data holds one, so nothing is lost, and there
        is nothing to choose.
        """
        return sorted({self.image, self.pad, *self.markers} - {self.end})


@dataclass(frozen=True, slots=True)
class PromptBatch:
    """Prompts, padded on the left.

    Attributes:
        tokens: (B, T) int64 with I * T_i image placeholders a row.
        attention: (B, T) int64, 0 on padding.
        images: I.
        questions: B of them, for a Q-Former that sees them.
    """

    tokens: Tensor
    attention: Tensor
    images: int
    questions: tuple[str, ...] = ()

    def to(self, device: torch.device) -> PromptBatch:
        """Return the same prompts elsewhere."""
        return replace(self, tokens=self.tokens.to(device), attention=self.attention.to(device))


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """Prompts with their answers, padded on the right, and the masks the answers mean.

    Attributes:
        tokens: (B, T) int64.
        answer: (B, T) bool, true on the answer and its end token; where a conversation goes on,
            on every answer of it.
        features: of N images.
        images: I.
        masks: (M, h, w) float in [0, 1], one for each [SEG] in sample and text order.
        mask_image: (M,) int64, which of the N images each mask belongs to.
        extents: (N, 2) int64, rows and columns of the mask grid that show the picture.
        whole: of the batch that this one is a part of; its parts' losses add up to those of the
            whole. None: this is all of it.
        questions: B of them, for a Q-Former that sees them.
    """

    tokens: Tensor
    answer: Tensor
    features: ImageFeatures
    images: int
    masks: Tensor
    mask_image: Tensor
    extents: Tensor
    whole: Counts | None = None
    questions: tuple[str, ...] = ()

    def counts(self) -> Counts:
        """Return the counts of this batch alone."""
        seen = len(torch.unique(self.mask_image))
        return Counts(int(self.answer[:, 1:].sum()), seen, len(self.masks))

    def to(self, device: torch.device) -> TrainingBatch:
        """Return the same batch elsewhere."""
        tensors = ("tokens", "answer", "masks", "mask_image", "extents")
        moved = {name: getattr(self, name).to(device, non_blocking=True) for name in tensors}
        return replace(self, features=self.features.to(device, self.features.vision.dtype), **moved)
