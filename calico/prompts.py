"""The words of a sample as token ids: images, question, answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from calico.config import PromptConfig
from calico.model.calico import PromptBatch
from calico.tokenizer import IMAGE, IMAGE_END, IMAGE_START, image_tag

_KEPT_TEXTS = 1 << 14  # tokenised of late; wordings and answers come again and again


@dataclass(frozen=True, slots=True)
class EncodedSample:
    """Token ids of one sample.

    Attributes:
        tokens: prompt, answer and end token; then question, answer and end token of each further
            turn.
        answers: first and last place (outside) of each answer with its end token.
    """

    tokens: tuple[int, ...]
    answers: tuple[tuple[int, int], ...]


class PromptEncoder:
    """Writes prompts in the format of the configuration.

    Args:
        tokenizer: knows the grounding tokens.
        config: words around images, question and answer.
        placeholders: image tokens of one image.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, config: PromptConfig, placeholders: int
    ) -> None:
        self.tokenizer = tokenizer
        self.config = config
        self.placeholders = placeholders
        self._ids = lru_cache(_KEPT_TEXTS)(self._tokenized)

    def text(self, question: str, images: int) -> str:
        """Return the prompt with one placeholder an image."""
        shown = f"{IMAGE_START}{IMAGE}{IMAGE_END}" if self.config.image_markers else IMAGE
        listed = ", ".join(f"{shown} {image_tag(number)}" for number in range(images))
        lead = self.config.lead.format(images=listed)
        return f"{self.config.system}{self.config.user}{lead}\n{question}{self.config.assistant}"

    def prompt(self, question: str, images: int) -> list[int]:
        """Return the ids of a prompt, every image as a run of placeholders."""
        text = self.text(question, images).replace(IMAGE, IMAGE * self.placeholders)
        begin = self.tokenizer.bos_token_id  # Qwen's has none
        return [*self._ids(text)] if begin is None else [begin, *self._ids(text)]

    def sample(self, question: str, answer: str, images: int) -> EncodedSample:
        """Return the ids of a prompt with its answer."""
        return self.conversation([(question, answer)], images)

    def conversation(self, turns: Sequence[tuple[str, str]], images: int) -> EncodedSample:
        """Return the ids of questions and answers about the same images.

        Args:
            turns: each question with its answer; the first begins exactly as a prompt does.
            images: how many.
        """
        tokens: list[int] = []
        answers: list[tuple[int, int]] = []
        for question, answer in turns:
            asked = f"{self.config.user}{question}{self.config.assistant}"
            tokens += self._ids(asked) if tokens else self.prompt(question, images)
            start = len(tokens)
            tokens += [*self._ids(answer), self.tokenizer.eos_token_id]
            answers.append((start, len(tokens)))
        return EncodedSample(tuple(tokens), tuple(answers))

    def batch(self, questions: Sequence[str], images: int) -> PromptBatch:
        """Return prompts padded on the left."""
        prompts = [self.prompt(question, images) for question in questions]
        length = max(map(len, prompts))
        tokens = torch.full((len(prompts), length), self.tokenizer.pad_token_id)
        attention = torch.zeros(len(prompts), length, dtype=torch.int64)
        for row, prompt in enumerate(prompts):
            tokens[row, length - len(prompt) :] = torch.tensor(prompt)
            attention[row, length - len(prompt) :] = 1
        return PromptBatch(tokens, attention, images, tuple(questions))

    def collate(self, samples: Sequence[EncodedSample]) -> tuple[Tensor, Tensor]:
        """Pad samples on the right.

        Returns:
            tokens (B, T) int64 and answer (B, T) bool, true on all answers and their end tokens.
        """
        length = max(len(sample.tokens) for sample in samples)
        tokens = np.full((len(samples), length), self.tokenizer.pad_token_id, np.int64)
        answer = np.zeros((len(samples), length), np.bool_)
        for row, sample in enumerate(samples):
            tokens[row, : len(sample.tokens)] = sample.tokens
            for start, stop in sample.answers:
                answer[row, start:stop] = True
        return torch.from_numpy(tokens), torch.from_numpy(answer)

    def _tokenized(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False).input_ids)
