"""The text of a sample as token ids: images, question, answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from calico.config.calico import PromptConfig
from calico.model.inputs import PromptBatch
from calico.processing.tokenizer import IMAGE, IMAGE_END, IMAGE_START, image_tag

_CACHED_TEXTS = 1 << 14  # tokenised texts; the wordings of questions and many answers repeat


def prompt_text(config: PromptConfig, question: str, images: int) -> str:
    """Write the text of a prompt.

    Args:
        config: text around images and question.
        question: plain text.
        images: number of images.

    Returns:
        The text, with one placeholder for each image.
    """
    shown = f"{IMAGE_START}{IMAGE}{IMAGE_END}" if config.image_markers else IMAGE
    listed = _listed([f"{shown} {image_tag(number)}" for number in range(images)], config.listing)
    lead = config.lead_one if images == 1 and config.lead_one else config.lead
    lead = lead.replace("{images}", listed)
    return f"{config.system}{config.user}{lead}\n{question}{config.assistant}"


def prompt_words(config: PromptConfig) -> str:
    """Return a text of every word that stands around images and questions."""
    counts = {config.max_images, 1} if config.lead_one else {config.max_images}
    return " ".join(prompt_text(config, "", images) for images in sorted(counts))


def _listed(names: Sequence[str], listing: str) -> str:
    """Return names as a list in a sentence, by `PromptConfig.listing`."""
    if listing == "comma" or len(names) < 2:
        return ", ".join(names)
    # Two without a comma, more with one before the last: as the fork's `_write_list` does.
    comma = "," if len(names) > 2 else ""
    return f"{', '.join(names[:-1])}{comma} and {names[-1]}"


@dataclass(frozen=True, slots=True)
class EncodedSample:
    """Token ids of one sample.

    Attributes:
        tokens: prompt, answer and end token; then question, answer and end token of each further
            turn.
        answers: first and last (exclusive) index in `tokens` of each answer with its end token.
    """

    tokens: tuple[int, ...]
    answers: tuple[tuple[int, int], ...]


class PromptEncoder:
    """Writes prompts in the format of the configuration.

    Args:
        tokenizer: knows the grounding tokens.
        config: text around images, question and answer.
        placeholders: number of image tokens of one image (32 at the paper's size).
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, config: PromptConfig, placeholders: int
    ) -> None:
        self.tokenizer = tokenizer
        self.config = config
        self.placeholders = placeholders
        self._cached: dict[str, tuple[int, ...]] = {}

    def text(self, question: str, images: int) -> str:
        """Return the text of a prompt, with one placeholder for each image."""
        return prompt_text(self.config, question, images)

    def prompt(self, question: str, images: int) -> list[int]:
        """Return the ids of a prompt, with each image as a run of placeholders."""
        return [*self._begin(), *self._ids(self._with_images(question, images))]

    def sample(self, question: str, answer: str, images: int) -> EncodedSample:
        """Return the ids of a prompt with its answer.

        Args:
            question: plain text.
            answer: text with the grounding tokens.
            images: number of images.

        Returns:
            The prompt, the answer and the end token.
        """
        return self.conversations([[(question, answer)]], images)[0]

    def conversations(
        self, asked: Sequence[Sequence[tuple[str, str]]], images: int
    ) -> list[EncodedSample]:
        """Return the ids of conversations; many at once are tokenised faster than one by one.

        Args:
            asked: the turns of each conversation: questions with their answers, about the same
                images. The first turn starts exactly as a prompt does.
            images: number of images.
        """
        # The images are shown once, in the first turn; further turns are questions alone.
        texts = [
            [
                (
                    self._with_images(question, images) if turn == 0 else self._further(question),
                    answer,
                )
                for turn, (question, answer) in enumerate(turns)
            ]
            for turns in asked
        ]
        self._prepare([text for turns in texts for turn in turns for text in turn])
        return [self._joined(turns) for turns in texts]

    def _joined(self, turns: Sequence[tuple[str, str]]) -> EncodedSample:
        """Return the ids of the turns of one conversation."""
        tokens = self._begin()
        answers: list[tuple[int, int]] = []
        # Prompt and answer are tokenised apart: a prompt must have the same ids in training, where
        # an answer follows, as in generation, where none does yet.
        for prompt, answer in turns:
            tokens += self._ids(prompt)
            start = len(tokens)
            tokens += self._ids(answer)
            tokens.append(self.tokenizer.eos_token_id)
            answers.append((start, len(tokens)))
        return EncodedSample(tuple(tokens), tuple(answers))

    def _begin(self) -> list[int]:
        begin = self.tokenizer.bos_token_id  # Qwen's tokenizer has none
        return [] if begin is None else [begin]

    def _with_images(self, question: str, images: int) -> str:
        # As many placeholders as the projector gives tokens for an image: the index of a token is
        # then the index of its hidden state, and no offset has to be counted.
        return self.text(question, images).replace(IMAGE, IMAGE * self.placeholders)

    def _further(self, question: str) -> str:
        return f"{self.config.user}{question}{self.config.assistant}"

    def batch(self, questions: Sequence[str], images: int) -> PromptBatch:
        """Return prompts about `images` images each, padded on the left."""
        prompts = [self.prompt(question, images) for question in questions]
        # On the left, so that all prompts of a batch end at the same index and generation continues
        # from there; the last token of every prompt, which CAM reads (equation 7), is at T - 1.
        length = max(map(len, prompts))
        tokens = torch.full((len(prompts), length), self.tokenizer.pad_token_id)
        attention = torch.zeros(len(prompts), length, dtype=torch.int64)
        for row, prompt in enumerate(prompts):
            tokens[row, length - len(prompt) :] = torch.tensor(prompt)
            attention[row, length - len(prompt) :] = 1
        return PromptBatch(tokens, attention, images, tuple(questions))

    def name_ids(self, name: str) -> tuple[int, ...]:
        """Return the ids of the words of a name, as they are after an article in an answer."""
        # A word after a space can have other ids than at the beginning of a text.
        article = self._ids("the")
        return self._ids(f"the {name}")[len(article) :]

    def collate(self, samples: Sequence[EncodedSample]) -> tuple[Tensor, Tensor]:
        """Return samples as a batch, padded on the right.

        Returns:
            Tokens (B, T) int64 and answer (B, T) bool, true on all answers and their end tokens.
        """
        length = max(len(sample.tokens) for sample in samples)
        tokens = np.full((len(samples), length), self.tokenizer.pad_token_id, np.int64)
        answer = np.zeros((len(samples), length), np.bool_)
        for row, sample in enumerate(samples):
            tokens[row, : len(sample.tokens)] = sample.tokens
            for start, stop in sample.answers:
                answer[row, start:stop] = True
        return torch.from_numpy(tokens), torch.from_numpy(answer)

    def _ids(self, text: str) -> tuple[int, ...]:
        if text not in self._cached:
            self._prepare([text])
        return self._cached[text]

    def _prepare(self, texts: Sequence[str]) -> None:
        """Tokenise the texts that are not cached, in one call; drop the oldest cached ones."""
        unknown = [text for text in dict.fromkeys(texts) if text not in self._cached]
        if not unknown:
            return
        # A dictionary keeps the order of insertion, so its first key is the oldest.
        while self._cached and len(self._cached) + len(unknown) > _CACHED_TEXTS:
            self._cached.pop(next(iter(self._cached)))
        ids = self.tokenizer(unknown, add_special_tokens=False).input_ids
        self._cached.update(zip(unknown, map(tuple, ids), strict=True))
