"""Inputs of the assembled model: token ids that it reads, prompts and training batches.

Shapes: B samples of I images each, N = B * I images in sample order; T positions; T_i image
tokens an image; M masks.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from calico.model.losses import Counts
from calico.model.original_masks import OriginalMasks
from calico.model.presence import PresenceTargets
from calico.model.segments import SegVocabulary
from calico.model.vision import ImageFeatures


@dataclass(frozen=True, slots=True)
class TokenIds:
    """Ids of the tokens that the model itself reads.

    Attributes:
        pad: id of padding.
        end: id of the end token.
        image: id of an image placeholder.
        segments: ids of [SEG] and of the tags of images.
        new: ids of tokens that a pretrained language model did not have.
        markers: ids of further tokens of prompts: the begin token and those around images.
        reader: tokenizer of the question, for a Q-Former that sees it.
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
        """Token ids that generation never chooses."""
        # A generated placeholder would mean an image that does not exist, and padding is left out
        # of the text. No answer of the dataset contains them, so suppressing them loses nothing. A
        # tokenizer may pad with its end token, which must stay possible.
        return sorted({self.image, self.pad, *self.markers} - {self.end})


@dataclass(frozen=True, slots=True)
class PromptBatch:
    """Prompts, padded on the left, so that every answer starts in the same column.

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
        """Return the same prompts on another device."""
        return replace(self, tokens=self.tokens.to(device), attention=self.attention.to(device))


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """Prompts with their answers, padded on the right, and the masks of their [SEG].

    Attributes:
        tokens: (B, T) int64.
        answer: (B, T) bool, true on the answer and its end token; in a multi-turn conversation
            on every answer.
        features: of N images.
        images: I.
        masks: (M, h, w) float in [0, 1], one for each [SEG] in sample and text order; (M, 0, 0)
            where `originals` has them.
        mask_image: (M,) int64, which of the N images each mask belongs to.
        extents: (N, 2) int64, rows and columns of the mask grid that show the image.
        whole: counts of the batch that this one is a part of, so that the losses of its parts add
            up to its losses; None means that this is the whole batch.
        questions: B of them, for a Q-Former that sees them.
        originals: the masks at the size of their images, for a loss at that resolution.
        presence: names that the images show or not, for the loss of presence.
        text_only: no mask is decoded, and the losses of masks are 0; there are no masks then.
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
    originals: OriginalMasks | None = None
    presence: PresenceTargets | None = None
    text_only: bool = False

    def counts(self) -> Counts:
        """Return the counts of this batch alone."""
        masked_images = len(torch.unique(self.mask_image))
        # Column 0 is predicted by nothing, as in `Calico.forward`.
        asked = self.presence.samples if self.presence is not None else 0
        return Counts(int(self.answer[:, 1:].sum()), masked_images, len(self.masks), asked)

    def to(self, device: torch.device) -> TrainingBatch:
        """Return the same batch on another device."""
        tensors = ("tokens", "answer", "masks", "mask_image", "extents")
        moved = {name: getattr(self, name).to(device, non_blocking=True) for name in tensors}
        features = self.features.to(device, self.features.vision.dtype)
        originals = self.originals and self.originals.to(device)
        presence = self.presence and self.presence.to(device)
        return replace(self, features=features, originals=originals, presence=presence, **moved)
