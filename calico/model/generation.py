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
from calico.model.language import cache_argument
from calico.model.segments import SegStates, read_segments
from calico.model.vision import ImageFeatures


@dataclass(frozen=True, slots=True)
class Generated:
    """Answers of a batch.

    Attributes:
        tokens: (B, S) int64 without the prompts; padding after the end token.
        predicting: (B, S, D), the state that each token was predicted from.
        finished: (B,) bool, true where the answer has its end token, false where it was cut off.
    """

    tokens: Tensor
    predicting: Tensor
    finished: Tensor

    def segments(self, model: Calico, images: int) -> SegStates:
        """Return the states of all generated [SEG], read by the same function as in training.

        A step stores its token beside the state that predicted it, so column t means here what it
        means in training: state t - 1 of the sequence.
        """
        return read_segments(self.predicting, self.tokens, model.ids.segments, images)


class Steps(Protocol):
    """The language model as decoding uses it: the prompts once, then one token a row at a time."""

    def prefill(self) -> Tensor:
        """Run the prompts and return their last states (B, D)."""
        ...

    def advance(self, tokens: Tensor, parents: Tensor | None) -> Tensor:
        """Append a token to every row.

        Args:
            tokens: (R,) int64.
            parents: (R,) int64, which of the rows so far each token continues; None: its own.

        Returns:
            (R, D), the last states.
        """
        ...


class CachedSteps:
    """Steps with a key-value cache: the CAMs run in `prefill` only.

    Keys and values of the image tokens are computed after the CAMs added to them, so the cache
    holds their effect, and a later step need not run them. Greedy answers are the same as with the
    whole sequence computed again in every step.

    Args:
        model: in evaluation mode.
        prompts: B of them, padded on the left.
        features: of their B * I images.
    """

    def __init__(self, model: Calico, prompts: PromptBatch, features: ImageFeatures) -> None:
        self.model = model
        self.prompts = prompts
        self.features = features
        self._cache = DynamicCache(config=model.language.config)
        self._attention = prompts.attention

    def prefill(self) -> Tensor:
        """Fill the cache with the prompts and return their last states (B, D)."""
        batch, length = self.prompts.tokens.shape
        # Padding is on the left, so the last prompt token, which conditions the CAMs, is in the
        # last column of every row. In training, where answers follow, it differs between rows.
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
        """Run one token a row.

        Args:
            tokens: (R,) int64.
            parents: (R,) int64, which of the rows so far each token continues; None: its own.

        Returns:
            (R, D), the last states.
        """
        # Beams select rows of the cache, so a prompt is computed once and not once a beam.
        if parents is not None:
            self._cache.reorder_cache(parents)  # type: ignore[arg-type]
            self._attention = self._attention[parents]
        # The number of real tokens so far is the position of the next one: padding does not count.
        positions = self._attention.sum(1)
        self._attention = torch.cat([self._attention, self._attention.new_ones(len(tokens), 1)], 1)
        hidden: Tensor = self.model.language.model(
            input_ids=tokens[:, None],
            attention_mask=self._attention,
            position_ids=positions[:, None],
            **cache_argument(self.model.language.model, self._cache),
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
        beams: hypotheses of each prompt; 1 decodes greedily.
        length_penalty: the score of a hypothesis is log probability / length ** length_penalty.

    Returns:
        B answers with the states that predicted their tokens.
    """
    steps = CachedSteps(model, prompts, features)
    if beams == 1:
        return greedy(model, steps, max_new_tokens)
    return beam_search(model, steps, max_new_tokens, beams, length_penalty)


@torch.inference_mode()
def greedy(model: Calico, steps: Steps, max_new_tokens: int) -> Generated:
    """Take the most probable token at every step.

    Args:
        model: its output layer and token ids are used.
        steps: compute the states.
        max_new_tokens: limit for each answer.

    Returns:
        B answers; the batch stops when all of them have ended.
    """
    state = steps.prefill()
    # An image placeholder or padding inside an answer would have no meaning: see `TokenIds`.
    suppressed = torch.tensor(model.ids.suppressed, device=state.device)
    finished = torch.zeros(len(state), dtype=torch.bool, device=state.device)
    tokens: list[Tensor] = []
    states: list[Tensor] = []
    for step in range(max_new_tokens):
        token = model.language.lm_head(state).index_fill(-1, suppressed, -torch.inf).argmax(-1)
        # A finished row stays in the batch, so that rows and cache need no rearranging.
        token = token.masked_fill(finished, model.ids.pad)
        tokens.append(token)
        states.append(state)
        finished = finished | (token == model.ids.end)
        # The last token predicts nothing: its own state is never computed.
        if step + 1 == max_new_tokens or bool(finished.all()):
            break
        state = steps.advance(token, None)
    return Generated(torch.stack(tokens, 1), torch.stack(states, 1), finished)


@torch.inference_mode()
def beam_search(
    model: Calico, steps: Steps, max_new_tokens: int, beams: int, length_penalty: float = 1.0
) -> Generated:
    """Search with several hypotheses for each prompt and return the best answers.

    Args:
        model: its output layer and token ids are used.
        steps: compute the states.
        max_new_tokens: limit for each answer.
        beams: hypotheses of each prompt.
        length_penalty: the score of a hypothesis is log probability / length ** length_penalty.

    Returns:
        B answers.
    """
    first = steps.prefill()
    suppressed = torch.tensor(model.ids.suppressed, device=first.device)

    def log_probabilities(state: Tensor) -> Tensor:
        # Suppressed after the softmax: the others keep their probabilities, as in transformers.
        scores = torch.log_softmax(model.language.lm_head(state).float(), dim=-1)
        return scores.index_fill(-1, suppressed, -torch.inf)

    hypotheses = search(
        first,
        steps.advance,
        log_probabilities,
        model.ids.end,
        max_new_tokens,
        beams,
        length_penalty,
    )
    length = max(len(best.tokens) for best in hypotheses)
    tokens = torch.full((len(hypotheses), length), model.ids.pad, device=first.device)
    predicting = first.new_zeros(len(hypotheses), length, first.shape[-1])
    for row, best in enumerate(hypotheses):
        tokens[row, : len(best.tokens)] = torch.tensor(best.tokens, device=first.device)
        predicting[row, : len(best.tokens)] = best.states
    finished = torch.tensor([best.tokens[-1] == model.ids.end for best in hypotheses])
    return Generated(tokens, predicting, finished.to(first.device))
