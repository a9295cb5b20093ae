"""Tokenizer and prompts: grounding tokens stay whole, text comes back as it went in."""

from __future__ import annotations

import pytest
import torch

from calico.processing.prompts import PromptEncoder
from calico.processing.tokenizer import (
    image_tag,
    token_ids,
)
from mixedparts.records import Task
from mixedparts.text import answers as wording
from tests.factories.micro_model import micro_config, micro_tokenizer

ANSWER = wording.part_answer(
    Task.UNIQUE_PARTS, ("mug", "kettle"), [("lid", (0,)), ("handle", (1,)), ("lid", (1,))]
)


def test_a_tokenizer_without_a_begin_token_begins_with_the_text() -> None:
    tokenizer, other = micro_tokenizer(), micro_tokenizer()
    other.bos_token = None
    prompts = [
        PromptEncoder(one, micro_config().prompt, 3).prompt("Which object?", 2)
        for one in (tokenizer, other)
    ]
    assert prompts[0] == [tokenizer.bos_token_id, *prompts[1]]
    assert None not in token_ids(other, 2).markers


class TestPrompts:
    @pytest.fixture
    def encoder(self) -> PromptEncoder:
        config = micro_config()
        return PromptEncoder(micro_tokenizer(), config.prompt, config.qformer.queries)

    def test_every_image_has_its_placeholders_before_its_tag(self, encoder: PromptEncoder) -> None:
        tokens = encoder.tokenizer.convert_ids_to_tokens(encoder.prompt("Which object?", 2))
        for number in range(2):
            tag = tokens.index(image_tag(number))
            assert tokens[tag - 3 : tag] == ["<image>"] * 3
        assert tokens.count("<image>") == 6

    def test_the_answer_mask_covers_answer_and_end(self, encoder: PromptEncoder) -> None:
        short = encoder.sample("Which object?", "a mug", 2)
        long = encoder.sample("Which object?", ANSWER, 2)
        tokens, answer = encoder.collate([short, long])
        shown = tokens[0][answer[0]].tolist()
        assert encoder.tokenizer.convert_ids_to_tokens(shown) == ["a", "mug", "</s>"]
        assert tokens[0, : short.answers[0][0]].tolist() == encoder.prompt("Which object?", 2)
        assert (tokens[0, len(short.tokens) :] == encoder.tokenizer.pad_token_id).all()

    def test_texts_that_are_forgotten_are_tokenised_again(
        self, encoder: PromptEncoder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = [[("Which object?", "a mug"), ("What else?", "a lid")], [("Which?", "a handle")]]
        expected = encoder.conversations(asked, 2)
        monkeypatch.setattr("calico.processing.prompts._CACHED_TEXTS", 1)
        assert encoder.conversations(asked[::-1], 2) == expected[::-1]
        assert [encoder.conversations([one], 2)[0] for one in asked] == expected

    def test_batches_for_generation_are_padded_on_the_left(self, encoder: PromptEncoder) -> None:
        questions = ["Which object?", "Which object do both pictures contain?"]
        batch = encoder.batch(questions, 2)
        for row, question in enumerate(questions):
            kept = batch.attention[row].bool()
            assert batch.tokens[row][kept].tolist() == encoder.prompt(question, 2)
            assert torch.equal(kept, kept.sort().values)
