"""Beam search for a batch, with the same rules as transformers' own (no early stopping).

transformers' search returns tokens only. A mask also needs the state that predicted its [SEG],
along the path of the best hypothesis. Hypotheses are stored as back pointers into the steps, so
states are not copied while the search runs.

Shapes: B prompts; R rows, the running hypotheses of all prompts; D the width of the language model;
V its vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A complete answer.

    Attributes:
        tokens: S ids with the end token, if it was generated.
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
    """The ended hypotheses of one prompt, best first; `done` when none can become better."""

    ended: list[_Ended] = field(default_factory=list)
    done: bool = False

    def add(self, ended: _Ended, beams: int) -> None:
        """Add a hypothesis; only the `beams` best stay."""
        self.ended.append(ended)
        self.ended.sort(
            key=lambda each: -each.score
        )  # stable: of equal scores the earlier is first
        del self.ended[beams:]

    def close(self, best_running: float, beams: int) -> None:
        """Set `done` if `beams` hypotheses ended and no running one has a better score."""
        # Compared at the length of now, as transformers does without early stopping. A running
        # hypothesis only loses log probability; with a length penalty above 0 its score could
        # still rise later, which this rule ignores.
        self.done = self.done or (
            len(self.ended) == beams and not best_running > self.ended[-1].score
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
    """Search for the best answer to every prompt.

    Args:
        state: (B, D), the last states of the prompts.
        advance: appends tokens (R,) to the rows `parents` (R,) and returns the last states (R, D).
        log_probabilities: of the next token, (R, D) -> (R, V) float32.
        end: id of the end token.
        limit: greatest number of tokens of an answer.
        beams: running hypotheses of each prompt.
        length_penalty: exponent of the length that log probabilities are divided by.

    Returns:
        One hypothesis a prompt.
    """
    batch, device = len(state), state.device
    samples = [_Sample() for _ in range(batch)]
    # (B, width) log probabilities; one row a prompt at first, since copies would find the same.
    running = torch.zeros(batch, 1, device=device)
    trail: list[_Step] = []
    for step in range(limit):
        width = running.shape[1]
        following = log_probabilities(state)
        vocabulary = following.shape[-1]
        total = (running[..., None] + following.view(batch, width, -1)).flatten(1)
        # Twice as many as go on: a hypothesis has one end token, so at most half have ended.
        scores, places = total.topk(min(2 * beams, total.shape[1]), dim=1)
        rows = places // vocabulary + width * torch.arange(batch, device=device)[:, None]
        tokens = places % vocabulary
        ends = (tokens == end) | (step + 1 == limit)
        penalised = scores / (step + 1) ** length_penalty
        # Read from the device once a step, not once a hypothesis.
        read = zip(ends.tolist(), penalised.tolist(), rows.tolist(), tokens.tolist(), strict=True)
        for sample, candidates in zip(samples, read, strict=True):
            if sample.done:
                continue
            # An ended candidate counts only among the best `beams`: transformers' rule.
            for ended, value, row, token in list(zip(*candidates, strict=True))[:beams]:
                if ended:
                    sample.add(_Ended(value, step, row, token), beams)
        going_on = min(beams, scores.shape[1] - width)
        running, chosen = scores.masked_fill(ends, -torch.inf).topk(going_on, dim=1)
        parents = rows.gather(1, chosen).flatten()
        appended = tokens.gather(1, chosen).flatten()
        trail.append(_Step(state, appended.tolist(), parents.tolist()))
        best = (running[:, 0] / (step + 1) ** length_penalty).tolist()
        for sample, score in zip(samples, best, strict=True):
            sample.close(score, beams)
        if step + 1 == limit or all(sample.done for sample in samples):
            break
        state = advance(appended, parents)
    return [_path(sample.ended[0], trail) for sample in samples]


def _path(ended: _Ended, trail: list[_Step]) -> Hypothesis:
    """Follow the back pointers of a hypothesis to its prompt."""
    # The last token comes from the row that predicted it; every earlier one was appended to the
    # row that the next step starts from, and was predicted by that row's parent.
    tokens, states = [ended.token], [trail[ended.step].states[ended.row]]
    row = ended.row
    for step in reversed(range(ended.step)):
        tokens.append(trail[step].tokens[row])
        row = trail[step].parents[row]
        states.append(trail[step].states[row])
    return Hypothesis(tokens[::-1], torch.stack(states[::-1]))
