"""Beam search for a batch, with the same rules as transformers' own (no early stopping).

transformers' search returns tokens; a mask needs the state that predicted its [SEG] as well, along
the path of the hypothesis that won. Hypotheses are kept as pointers into the steps, so that states
are never copied while the search runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A whole answer.

    Attributes:
        tokens: S ids, the end token included where it came.
        states: (S, D), the states that predicted them.
    """

    tokens: list[int]
    states: Tensor


@dataclass(frozen=True, slots=True)
class _Step:
    """One step of the search, over all rows.

    Attributes:
        states: (R, D) of the rows before the step.
        tokens: (R',) int64 that the rows after the step end with.
        parents: (R',) int64, rows before the step.
    """

    states: Tensor
    tokens: list[int]
    parents: list[int]


@dataclass(frozen=True, slots=True)
class _Ended:
    """A hypothesis that ended at a step: its last token and the row that predicted it."""

    score: float
    step: int
    row: int
    token: int


@dataclass(slots=True)
class _Sample:
    """The ended hypotheses of one prompt, best first; `done` once none can become better."""

    ended: list[_Ended] = field(default_factory=list)
    done: bool = False

    def add(self, one: _Ended, kept: int) -> None:
        self.ended.append(one)
        self.ended.sort(key=lambda each: -each.score)  # stable: of equal ones the earlier
        del self.ended[kept:]

    def close(self, best_running: float, kept: int) -> None:
        """Mark as done when `kept` hypotheses ended that no running one surpasses."""
        self.done = self.done or (
            len(self.ended) == kept and not best_running > self.ended[-1].score
        )


def search(
    state: Tensor,
    advance: Callable[[Tensor, Tensor | None], Tensor],
    log_probabilities: Callable[[Tensor], Tensor],
    end: int,
    limit: int,
    beams: int,
    length_penalty: float,
) -> list[Hypothesis]:
    """Search the best answer of every prompt.

    Args:
        state: (B, D), the last states of the prompts.
        advance: appends tokens (R,) to the rows `parents` (R,); returns the last states (R, D).
        log_probabilities: of the next token, (R, D) -> (R, V) float32.
        end: id of the end token.
        limit: tokens of an answer.
        beams: running hypotheses of each prompt.
        length_penalty: exponent of the length that log probabilities are divided by.

    Returns:
        one hypothesis a prompt.
    """
    batch, device = len(state), state.device
    samples = [_Sample() for _ in range(batch)]
    running = torch.zeros(batch, 1, device=device)
    trail: list[_Step] = []
    for step in range(limit):
        width = running.shape[1]
        following = log_probabilities(state)
        vocabulary = following.shape[-1]
        total = (running[..., None] + following.view(batch, width, -1)).flatten(1)
        # Twice as many as are kept: at most half of them end, one a running hypothesis.
        scores, places = total.topk(min(2 * beams, total.shape[1]), dim=1)
        rows = places // vocabulary + width * torch.arange(batch, device=device)[:, None]
        tokens = places % vocabulary
        ends = (tokens == end) | (step + 1 == limit)
        worth = scores / (step + 1) ** length_penalty
        # Read from the device once a step, not once a hypothesis.
        read = zip(ends.tolist(), worth.tolist(), rows.tolist(), tokens.tolist(), strict=True)
        for sample, candidates in zip(samples, read, strict=True):
            if sample.done:
                continue
            for ended, value, row, token in list(zip(*candidates, strict=True))[:beams]:
                if ended:
                    sample.add(_Ended(value, step, row, token), beams)
        kept = min(beams, scores.shape[1] - width)
        running, chosen = scores.masked_fill(ends, -torch.inf).topk(kept, dim=1)
        parents = rows.gather(1, chosen).flatten()
        taken = tokens.gather(1, chosen).flatten()
        trail.append(_Step(state, taken.tolist(), parents.tolist()))
        best = (running[:, 0] / (step + 1) ** length_penalty).tolist()
        for sample, score in zip(samples, best, strict=True):
            sample.close(score, beams)
        if step + 1 == limit or all(sample.done for sample in samples):
            break
        state = advance(taken, parents)
    return [_path(sample.ended[0], trail) for sample in samples]


def _path(ended: _Ended, trail: list[_Step]) -> Hypothesis:
    """Follow a hypothesis back to the prompt."""
    tokens, states = [ended.token], [trail[ended.step].states[ended.row]]
    row = ended.row
    for step in reversed(range(ended.step)):
        tokens.append(trail[step].tokens[row])
        row = trail[step].parents[row]
        states.append(trail[step].states[row])
    return Hypothesis(tokens[::-1], torch.stack(states[::-1]))
