"""Generation without a cache."""

from __future__ import annotations

import torch
from torch import Tensor

from calico.model.calico import Calico
from calico.model.inputs import PromptBatch
from calico.model.vision import ImageFeatures


class RecomputedSteps:
    """The model without a cache: all tokens so far, with the CAMs, at every step."""

    def __init__(self, model: Calico, prompts: PromptBatch, features: ImageFeatures) -> None:
        self.model, self.images = model, prompts.images
        self.length = prompts.tokens.shape[1]
        self.tokens, self.attention = prompts.tokens, prompts.attention
        self.sample = torch.arange(len(prompts.tokens))
        self.features = features

    def prefill(self) -> Tensor:
        rows = self.sample[:, None] * self.images + torch.arange(self.images)
        last = torch.full((len(self.tokens),), self.length - 1)
        return self.model.hidden_states(
            self.tokens, self.features.select(rows.flatten()), self.images, last, self.attention
        )[:, -1]

    def advance(self, tokens: Tensor, parents: Tensor | None) -> Tensor:
        rows = torch.arange(len(tokens)) if parents is None else parents
        self.sample = self.sample[rows]
        ones = torch.ones(len(tokens), 1, dtype=torch.int64)
        self.tokens = torch.cat([self.tokens[rows], tokens[:, None]], 1)
        self.attention = torch.cat([self.attention[rows], ones], 1)
        return self.prefill()
