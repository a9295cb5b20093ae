"""The tokenizer: grounding tokens stay whole, text comes back as it went in."""

from __future__ import annotations

from pathlib import Path

import pytest

from calico.config.calico import PromptConfig
from calico.processing.tokenizer import (
    build_tokenizer,
    decode,
    load_tokenizer,
    token_ids,
)
from mixedparts.errors import InputError
from mixedparts.records import Task
from mixedparts.text import answers as wording
from tests.factories.micro_model import micro_tokenizer

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


def test_texts_that_come_again_count_again() -> None:
    vocabulary = build_tokenizer(["a lid", "the lid", "a cup", "a cup"], 2).get_vocab()
    by_id = sorted(("a", "cup", "lid", "the"), key=vocabulary.__getitem__)
    assert by_id == ["a", "cup", "lid", "the"]
    vocabulary = build_tokenizer(iter(["a lid", "the lid", "a cup", *["the"] * 3]), 2).get_vocab()
    assert sorted(by_id, key=vocabulary.__getitem__) == ["the", "a", "lid", "cup"]


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


def test_ids_come_from_the_vocabulary_not_from_tokenising() -> None:
    tokenizer = micro_tokenizer()
    ids = token_ids(tokenizer, PromptConfig().max_images)
    assert tokenizer.convert_ids_to_tokens(ids.segments.seg) == "[SEG]"
    text = tokenizer("mug [SEG](IMAGE2), lid", add_special_tokens=False).input_ids
    assert text[1:3] == [ids.segments.seg, ids.segments.tags[1][0]]
