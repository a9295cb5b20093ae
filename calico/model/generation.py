"""Greedy generation for a batch of prompts of unequal length, with a key-value cache."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache

from calico.model.calico import Calico, PromptBatch
from calico.model.segments import SegStates, read_segments
from calico.model.vision import ImageFeatures


@dataclass(frozen=True, slots=True)
class Generated:
    """Answers of a batch.

    Attributes:
        tokens: (B, S) int64 without the prompts; padding after the end token.
        predicting: (B, S, D), the state that each token was predicted from.
        finished: (B,) bool, whether the end token came before the limit.
    """

    tokens: Tensor
    predicting: Tensor
    finished: Tensor

    def segments(self, model: Calico, images: int) -> SegStates:
        """Return the states of all generated [SEG], read as in training."""
        return read_segments(self.predicting, self.tokens, model.ids.segments, images)


@torch.inference_mode()
def generate(
    model: Calico, prompts: PromptBatch, features: ImageFeatures, max_new_tokens: int
) -> Generated:
    """Answer a batch of prompts greedily; the CAMs run at prefill only.

    Args:
        model: in evaluation mode.
        prompts: B of them, padded on the left.
        features: of their B * I images.
        max_new_tokens: limit for each answer.
    """
    batch, length = prompts.tokens.shape
    device = prompts.tokens.device
    cache = DynamicCache(config=model.language.config)
    last = torch.full((batch,), length - 1, device=device)
    hidden = model.hidden_states(
        prompts.tokens, features, prompts.images, last, prompts.attention, cache
    )
    state = hidden[:, -1]
    attention = torch.ones(batch, length + max_new_tokens, dtype=torch.int64, device=device)
    attention[:, :length] = prompts.attention
    position = prompts.attention.sum(1)
    finished = torch.zeros(batch, dtype=torch.bool, device=device)
    tokens: list[Tensor] = []
    states: list[Tensor] = []
    for step in range(max_new_tokens):
        token = model.language.lm_head(state).argmax(-1)
        token = token.masked_fill(finished, model.ids.pad)
        tokens.append(token)
        states.append(state)
        finished = finished | (token == model.ids.end)
        if step + 1 == max_new_tokens or bool(finished.all()):
            break
        state = model.language.model(
            input_ids=token[:, None],
            attention_mask=attention[:, : length + step + 1],
            position_ids=(position + step)[:, None],
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state[:, -1]
    return Generated(torch.stack(tokens, 1), torch.stack(states, 1), finished)
