"""Tokenizer and prompts: grounding tokens stay whole, text comes back as it went in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from calico.processing.prompts import PromptEncoder
from calico.processing.tokenizer import (
    build_tokenizer,
    decode,
    image_tag,
    load_tokenizer,
    token_ids,
)
from mixedparts.errors import InputError
from mixedparts.records import Task
from mixedparts.text import answers as wording
from tests.calico.factory import micro_config, micro_tokenizer

ANSWER = wording.part_answer(
    Task.UNIQUE_PARTS, ("mug", "kettle"), [("lid", (0,)), ("handle", (1,)), ("lid", (1,))]
)


def test_answers_survive_the_way_through_ids() -> None:
    tokenizer = micro_tokenizer()
    ids = tokenizer(ANSWER, add_special_tokens=False).input_ids
    assert tokenizer.unk_token_id not in ids
    assert decode(tokenizer, ids) == ANSWER


def test_decoding_stops_at_the_end_token() -> None:
    tokenizer = micro_tokenizer()
    ids = tokenizer("a mug", add_special_tokens=False).input_ids
    tail = [tokenizer.eos_token_id, *ids, tokenizer.pad_token_id]
    assert decode(tokenizer, [*ids, *tail]) == "a mug"


def test_ids_depend_on_the_words_alone() -> None:
    texts = ["a mug and a lid", "the lid of a kettle"]
    first, second = build_tokenizer(texts, 2), build_tokenizer(texts[::-1], 2)
    assert first.get_vocab() == second.get_vocab()


def test_a_tokenizer_without_a_begin_token_begins_with_the_text() -> None:
    tokenizer, other = micro_tokenizer(), micro_tokenizer()
    other.bos_token = None
    prompts = [
        PromptEncoder(one, micro_config().prompt, 3).prompt("Which object?", 2)
        for one in (tokenizer, other)
    ]
    assert prompts[0] == [tokenizer.bos_token_id, *prompts[1]]
    assert None not in token_ids(other, 2).markers


def test_a_saved_tokenizer_keeps_grounding_tokens_whole(tmp_path: Path) -> None:
    tokenizer = micro_tokenizer()
    tokenizer.save_pretrained(str(tmp_path))
    loaded = load_tokenizer(tmp_path)
    text = "<p>a mug</p>[SEG](IMAGE2)."
    assert loaded(text).input_ids == tokenizer(text).input_ids
    assert token_ids(loaded, 2) == token_ids(tokenizer, 2)


def test_a_folder_without_a_tokenizer_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_without_grounding_tokens_is_refused() -> None:
    with pytest.raises(InputError, match=r"\(IMAGE3\)"):
        token_ids(micro_tokenizer(), 3)


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
        monkeypatch.setattr("calico.processing.prompts._KEPT_TEXTS", 1)
        assert encoder.conversations(asked[::-1], 2) == expected[::-1]
        assert [encoder.conversations([one], 2)[0] for one in asked] == expected

    def test_batches_for_generation_are_padded_on_the_left(self, encoder: PromptEncoder) -> None:
        questions = ["Which object?", "Which object do both pictures contain?"]
        batch = encoder.batch(questions, 2)
        for row, question in enumerate(questions):
            kept = batch.attention[row].bool()
            assert batch.tokens[row][kept].tolist() == encoder.prompt(question, 2)
            assert torch.equal(kept, kept.sort().values)
