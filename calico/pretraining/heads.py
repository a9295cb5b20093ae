"""Heads that pretraining puts on top of the encoders; they are discarded afterwards."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from calico.pretraining.label_maps import BACKGROUND, UNKNOWN


@dataclass(frozen=True, slots=True)
class PatchLabels:
    """Soft labels of the patches of N images.

    Attributes:
        classes: (N, patches, 1 + classes) float32, share of each patch's pixels by class.
        parts: (N, patches, 2 + parts) float32, the same by part. Unknown pixels are left out, so
            the shares of a patch may add up to less than 1.
    """

    classes: Tensor
    parts: Tensor


def patch_labels(maps: Tensor, grid: int, classes: int, parts: int) -> PatchLabels:
    """Return the share of each label in each patch.

    Args:
        maps: (N, 2, H, H) uint8, class map and part map.
        grid: patches a side; divides H.
        classes: number of classes in the label set.
        parts: number of parts in the label set.

    Returns:
        The shares for grid * grid patches of each image.
    """
    shares = [_shares(maps[:, 0], grid, classes + 1), _shares(maps[:, 1], grid, parts + 2)]
    return PatchLabels(*shares)


def _shares(plane: Tensor, grid: int, values: int) -> Tensor:
    """Return (N, grid * grid, values) shares of an (N, H, H) uint8 map."""
    images, height, _ = plane.shape
    step = height // grid
    rows = torch.arange(height, device=plane.device) // step
    patch = rows[:, None] * grid + rows[None]
    patch = patch + torch.arange(images, device=plane.device)[:, None, None] * grid * grid
    # One number for each combination of image, patch and label, so that a single `bincount` counts
    # them all. A one-hot map of all pixels would take hundreds of times the memory.
    known = plane != UNKNOWN
    flat = (patch * values + plane.long())[known]
    counts = torch.bincount(flat, minlength=images * grid * grid * values)
    return counts.view(images, grid * grid, values).float() / step**2


class DenseHead(nn.Module):
    """Class and part logits of every patch.

    Args:
        width: number of channels of the features.
        classes: number of classes in the label set.
        parts: number of parts in the label set.
        upscale: 1, or 4 for a grid that is four times as fine a side (that of SAM's masks).
    """

    def __init__(self, width: int, classes: int, parts: int, upscale: int = 1) -> None:
        super().__init__()
        self.split = (classes + 1, parts + 2)
        total = sum(self.split)
        self.layers: nn.Module
        if upscale == 1:
            self.layers = nn.Conv2d(width, total, 1)
        else:
            self.layers = nn.Sequential(
                nn.ConvTranspose2d(width, width // 2, 2, 2),
                nn.GELU(),
                nn.ConvTranspose2d(width // 2, width // 2, 2, 2),
                nn.GELU(),
                nn.Conv2d(width // 2, total, 1),
            )

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return class and part logits (N, patches, .) of features (N, width, grid, grid)."""
        logits = self.layers(features).flatten(2).transpose(1, 2)
        classes, parts = logits.split(self.split, dim=-1)
        return classes, parts

    def loss(self, features: Tensor, labels: PatchLabels, background_weight: float) -> Tensor:
        """Return the cross-entropy against soft labels, with less weight on background.

        Args:
            features: (N, width, grid, grid) of an encoder.
            labels: of the same images.
            background_weight: weight of a patch of background; other patches have weight 1.

        Returns:
            The sum of the means for classes and for parts, a scalar.
        """
        classes, parts = self(features)
        return _soft_entropy(classes, labels.classes, background_weight) + _soft_entropy(
            parts, labels.parts, background_weight
        )


def _soft_entropy(logits: Tensor, target: Tensor, background_weight: float) -> Tensor:
    entropy = -(target * F.log_softmax(logits, -1)).sum(-1)
    # Background covers most of an image, and would dominate a plain mean.
    weight = 1 - (1 - background_weight) * target[..., BACKGROUND]
    # The denominator counts known pixels only: a patch with few of them weighs as little.
    return (entropy * weight).sum() / (target.sum(-1) * weight).sum()


class LabelPrompts(nn.Module):
    """One prompt of SAM for every class and every part of a class.

    They take the place of the [SEG] vectors, which come from a language model.

    Args:
        pairs: (class index, part index or -1) of each label.
        width: of the prompts.
    """

    def __init__(self, pairs: tuple[tuple[int, int], ...], width: int) -> None:
        super().__init__()
        table = torch.tensor(pairs)
        # Part indices move up by one: embedding 0 is that of a whole object (-1).
        self.register_buffer("table", table + torch.tensor([0, 1]), persistent=False)
        self.classes = nn.Embedding(int(table[:, 0].max()) + 1, width)
        self.parts = nn.Embedding(int(table[:, 1].max()) + 2, width)
        self.mix = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, labels: Tensor) -> Tensor:
        """Return prompts (M, width) for label indices (M,) int64."""
        # A sum of class and part: labels share what they have in common, as the head of a dog and
        # that of a cat.
        table = self.get_buffer("table")[labels]
        prompts: Tensor = self.mix(self.classes(table[:, 0]) + self.parts(table[:, 1]))
        return prompts


class TokenLabels(nn.Module):
    """Logits of the labels that an image shows, from all of its query tokens.

    Args:
        queries: number of query tokens of an image.
        width: of the tokens.
        labels: number of labels.
    """

    def __init__(self, queries: int, width: int, labels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.read = nn.Linear(queries * width, labels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (N, labels) of query tokens (N, Q, width)."""
        logits: Tensor = self.read(self.norm(tokens).flatten(1))
        return logits
