"""Answers for a batch of prompts of unequal length: greedy or beam search over a key-value cache.

Shapes: B prompts, D the width of the language model, S generated tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from transformers import DynamicCache

from calico.model.beams import search
from calico.model.calico import Calico
from calico.model.inputs import PromptBatch
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


class Steps(Protocol):
    """The language model as a search sees it: a prompt, then one token a row at a time."""

    def prefill(self) -> Tensor:
        """Read the prompts; return their last states (B, D)."""
        ...

    def advance(self, tokens: Tensor, parents: Tensor | None) -> Tensor:
        """Append a token to every row.

        Args:
            tokens: (R,) int64.
            parents: (R,) int64, the row so far that each token continues; None: row for row.

        Returns:
            (R, D), the last states.
        """
        ...


class CachedSteps:
    """Steps that keep keys and values: the CAMs run in `prefill` only.

    What the CAMs added to the image tokens lives on in the cache. A search that keeps R rows of
    B prompts selects rows of the cache, so the prompts are read once, not once a beam.
    """

    def __init__(self, model: Calico, prompts: PromptBatch, features: ImageFeatures) -> None:
        self.model = model
        self.prompts = prompts
        self.features = features
        self._cache = DynamicCache(config=model.language.config)
        self._attention = prompts.attention

    def prefill(self) -> Tensor:
        """Fill the cache; the last prompt token, which conditions the CAMs, is the last column."""
        batch, length = self.prompts.tokens.shape
        last = torch.full((batch,), length - 1, device=self.prompts.tokens.device)
        hidden = self.model.hidden_states(
            self.prompts.tokens,
            self.features,
            self.prompts.images,
            last,
            self.prompts.attention,
            self._cache,
            self.prompts.questions,
        )
        return hidden[:, -1]

    def advance(self, tokens: Tensor, parents: Tensor | None) -> Tensor:
        """Run one token a row; its position does not count the padding on the left."""
        if parents is not None:
            self._cache.reorder_cache(parents)  # type: ignore[arg-type]
            self._attention = self._attention[parents]
        positions = self._attention.sum(1)
        self._attention = torch.cat([self._attention, self._attention.new_ones(len(tokens), 1)], 1)
        hidden: Tensor = self.model.language.model(
            input_ids=tokens[:, None],
            attention_mask=self._attention,
            position_ids=positions[:, None],
            past_key_values=self._cache,
            use_cache=True,
        ).last_hidden_state
        return hidden[:, -1]


def generate(
    model: Calico,
    prompts: PromptBatch,
    features: ImageFeatures,
    max_new_tokens: int,
    beams: int = 1,
    length_penalty: float = 1.0,
) -> Generated:
    """Answer a batch of prompts.

    Args:
        model: in evaluation mode.
        prompts: B of them, padded on the left.
        features: of their B * I images.
        max_new_tokens: limit for each answer.
        beams: hypotheses kept for each prompt; 1 is greedy.
        length_penalty: a hypothesis is worth its log probability / length ** length_penalty.
    """
    steps = CachedSteps(model, prompts, features)
    if beams == 1:
        return greedy(model, steps, max_new_tokens)
    return beam_search(model, steps, max_new_tokens, beams, length_penalty)


@torch.inference_mode()
def greedy(model: Calico, steps: Steps, max_new_tokens: int) -> Generated:
    """Take the most probable token at every step."""
    state = steps.prefill()
    suppressed = torch.tensor(model.ids.suppressed, device=state.device)
    finished = torch.zeros(len(state), dtype=torch.bool, device=state.device)
    tokens: list[Tensor] = []
    states: list[Tensor] = []
    for step in range(max_new_tokens):
        token = model.language.lm_head(state).index_fill(-1, suppressed, -torch.inf).argmax(-1)
        token = token.masked_fill(finished, model.ids.pad)
        tokens.append(token)
        states.append(state)
        finished = finished | (token == model.ids.end)
        if step + 1 == max_new_tokens or bool(finished.all()):
            break
        state = steps.advance(token, None)
    return Generated(torch.stack(tokens, 1), torch.stack(states, 1), finished)


@torch.inference_mode()
def beam_search(
    model: Calico, steps: Steps, max_new_tokens: int, beams: int, length_penalty: float = 1.0
) -> Generated:
    """Return the best of the answers that a search over `beams` hypotheses finds."""
    first = steps.prefill()
    suppressed = torch.tensor(model.ids.suppressed, device=first.device)

    def log_probabilities(state: Tensor) -> Tensor:
        chances = torch.log_softmax(model.language.lm_head(state).float(), dim=-1)
        return chances.index_fill(-1, suppressed, -torch.inf)

    found = search(
        first,
        steps.advance,
        log_probabilities,
        model.ids.end,
        max_new_tokens,
        beams,
        length_penalty,
    )
    length = max(len(one.tokens) for one in found)
    tokens = torch.full((len(found), length), model.ids.pad, device=first.device)
    predicting = first.new_zeros(len(found), length, first.shape[-1])
    for row, one in enumerate(found):
        tokens[row, : len(one.tokens)] = torch.tensor(one.tokens, device=first.device)
        predicting[row, : len(one.tokens)] = one.states
    finished = torch.tensor([one.tokens[-1] == model.ids.end for one in found])
    return Generated(tokens, predicting, finished.to(first.device))
