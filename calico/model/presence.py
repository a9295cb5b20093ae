"""An auxiliary loss that the paper does not have: which names each image shows.

A linear layer turns the state at the last prompt token into one state for each image, and the
language model's output layer gives them logits of words. The words of a part's name are to be
likely where the image shows the part. So the state that conditions the CAMs (equation 7) and that
the answer starts from knows what is in both images. The layer is not used for answers.

Shapes: B samples of I images each; D is the width of the language model, V its vocabulary; E is the
number of names asked about, K that of different ones, L the most tokens of a name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from calico.model.vision import INITIAL_STD


@dataclass(frozen=True, slots=True)
class PresenceTargets:
    """Names that images of a batch show or do not show.

    Attributes:
        tokens: (K, L) int64, tokens of each name, padded with -1.
        places: (E, 3) int64, sample, image and name.
        shown: (E,) float32, 1 where the image shows the name.
        weights: (E,) float32; those of a sample add up to 1.
        samples: number of samples with names.
    """

    tokens: Tensor
    places: Tensor
    shown: Tensor
    weights: Tensor
    samples: int

    @classmethod
    def of(cls, asked: Sequence[Sequence[tuple[int, tuple[int, ...], bool]]]) -> PresenceTargets:
        """Return the targets of a batch.

        Args:
            asked: for each sample image, tokens of the name, and whether the image shows it.
        """
        numbers: dict[tuple[int, ...], int] = {}
        places, shown, weights = [], [], []
        for sample, names in enumerate(asked):
            for image, name, there in names:
                places.append((sample, image, numbers.setdefault(name, len(numbers))))
                shown.append(float(there))
                weights.append(1 / len(names))
        longest = max(map(len, numbers), default=0)
        tokens = torch.full((len(numbers), longest), -1)
        for row, name in enumerate(numbers):
            tokens[row, : len(name)] = torch.tensor(name)
        return cls(
            tokens,
            torch.tensor(places, dtype=torch.int64).reshape(-1, 3),
            torch.tensor(shown),
            torch.tensor(weights),
            sum(bool(names) for names in asked),
        )

    def to(self, device: torch.device) -> PresenceTargets:
        """Return the same targets on another device."""
        names = ("tokens", "places", "shown", "weights")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


class PresenceReader(nn.Module):
    """Reads a state for each image from the state at the last prompt token.

    Args:
        width: D.
        images: I at most.
    """

    def __init__(self, width: int, images: int) -> None:
        super().__init__()
        self.images = images
        self.read = nn.Linear(width, images * width)
        nn.init.normal_(self.read.weight, std=INITIAL_STD)
        nn.init.zeros_(self.read.bias)

    def loss(self, states: Tensor, output: nn.Module, targets: PresenceTargets | None) -> Tensor:
        """Return the sum over samples of their mean binary cross-entropy.

        Args:
            states: (B, D) at the last prompt tokens.
            output: the output layer of the language model, D -> V.
            targets: of the batch; None or empty gives 0, from the same weights.

        Returns:
            A scalar.
        """
        by_image = self.read(states).unflatten(-1, (self.images, -1))
        # As a module, not by its weight: with FSDP it gathers its weight when it is called.
        words: Tensor = output(by_image).float()  # (B, I, V)
        if targets is None or not len(targets.shown):
            return words.sum() * 0.0
        sample, image, name = targets.places.T
        tokens = targets.tokens[name]
        there = (tokens >= 0).float()
        logits = words[sample, image].gather(1, tokens.clamp_min(0))
        mean = (logits * there).sum(1) / there.sum(1)
        return F.binary_cross_entropy_with_logits(
            mean, targets.shown, targets.weights, reduction="sum"
        )
