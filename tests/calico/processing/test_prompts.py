"""Tokenizer and prompts: grounding tokens stay whole, text comes back as it went in."""

from __future__ import annotations

import pytest
import torch

from calico.config.presets import seven_b
from calico.processing.prompts import PromptEncoder, prompt_text, prompt_words
from calico.processing.tokenizer import (
    build_tokenizer,
    image_tag,
    token_ids,
)
from mixedparts.errors import UsageError
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


class TestLeads:
    """The text before a question, as the preset 7b has it from the fork of the first author."""

    @pytest.mark.parametrize(
        ("images", "lead"),
        [
            (1, "The # (IMAGE1) provides an overview of the picture."),
            (2, "The # (IMAGE1) and # (IMAGE2) provide an overview of the pictures."),
            (
                3,
                "The # (IMAGE1), # (IMAGE2), and # (IMAGE3) provide an overview of the pictures.",
            ),
        ],
    )
    def test_the_7b_preset_leads_as_its_family_does(self, images: int, lead: str) -> None:
        marked = lead.replace("#", "<im_start><image><im_end>")
        assert prompt_text(seven_b().prompt, "Which parts?", images) == (
            "A chat between a curious human and an artificial intelligence assistant. The assistant"
            " gives helpful, detailed, and polite answers to the human's questions. "
            f"USER: {marked}\nWhich parts? ASSISTANT:"
        )

    def test_other_leads_list_with_commas(self) -> None:
        prompt = micro_config(prompt={"lead": "See {images}: {those}."}).prompt
        text = prompt_text(prompt, "Which?", 3)
        tags = "<image> (IMAGE1), <image> (IMAGE2), <image> (IMAGE3)"
        assert text == f"See {tags}: {{those}}.\nWhich? ANSWER: "

    @pytest.mark.parametrize(("name", "lead"), [("lead", ""), ("lead_one", "One picture.")])
    def test_a_lead_without_its_images_is_refused(self, name: str, lead: str) -> None:
        with pytest.raises(UsageError, match=rf"prompt\.{name}: must contain {{images}}"):
            micro_config(prompt={name: lead})

    def test_a_tokenizer_of_the_datasets_words_knows_them(self) -> None:
        prompt = seven_b().prompt
        tokenizer = build_tokenizer([prompt_words(prompt), "Which parts?"], 2)
        for images in (1, 2):
            ids = tokenizer(prompt_text(prompt, "Which parts?", images)).input_ids
            assert tokenizer.unk_token_id not in ids


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
