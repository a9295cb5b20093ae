"""Reading of generated answers: what is bound to which image, and what is malformed."""

from __future__ import annotations

import pytest

from calico.processing.parse_answer import Binding, parse_generated
from calico.processing.tokenizer import build_tokenizer
from mixedparts.records import Task
from mixedparts.text import answers as wording
from mixedparts.text import questions as wordings
from mixedparts.text.answers import parse_answer
from tests.factories.micro_model import (
    micro_tokenizer,
)


def read(text: str, images: int = 2, ended: bool = True, untagged: str = "first_image"):
    tokenizer = micro_tokenizer()
    ids = tokenizer(text, add_special_tokens=False).input_ids
    ids += [tokenizer.eos_token_id] if ended else []
    seg = tokenizer.convert_tokens_to_ids("[SEG]")
    return parse_generated(tokenizer, ids, seg, images, untagged)  # type: ignore[arg-type]


class TestReading:
    @pytest.mark.parametrize("number", range(6))
    def test_well_formed_answers_are_read_as_the_dataset_reads_them(self, number: int) -> None:
        parts = [("lid", (0, 1)), ("handle", (0,)), ("lid", (1,))][: number % 3 + 1]
        text = wording.part_answer(list(Task)[1 + number // 3], ("mug", "kettle"), parts)
        texts = [*wordings.QUESTIONS[Task.COMMON_OBJECT], text]
        tokenizer = build_tokenizer(texts, 2)
        ids = tokenizer(text, add_special_tokens=False).input_ids
        seg = tokenizer.convert_tokens_to_ids("[SEG]")
        reading = parse_generated(tokenizer, [*ids, tokenizer.eos_token_id], seg, 2)
        expected = [(p.label, image) for p in parse_answer(text).phrases for image in p.images]
        assert [(one.label, one.image) for one in reading.grounded] == expected
        assert reading.text == text
        assert all(one.binding is Binding.TAGGED for one in reading.grounded)

    def test_a_seg_inside_a_phrase_moves_no_other_mask(self) -> None:
        reading = read("<p> a [SEG] (IMAGE2) mug </p> [SEG] (IMAGE1)")
        assert [(one.label, one.image) for one in reading.grounded] == [("", 1), ("mug", 0)]

    def test_an_open_phrase_names_nothing(self) -> None:
        reading = read("<p> a mug </p> [SEG] (IMAGE1) <p> the lid [SEG] (IMAGE2)")
        assert [(one.label, one.image) for one in reading.grounded] == [("mug", 0), ("", 1)]

    def test_an_answer_cut_off_before_its_tag_is_not_drawn(self) -> None:
        (mark,) = read("<p> a mug </p> [SEG]", ended=False).grounded
        assert (mark.image, mark.binding) == (None, Binding.MALFORMED_TAG)
        (mark,) = read("<p> a mug </p> [SEG]").grounded
        assert (mark.image, mark.binding) == (0, Binding.UNTAGGED)
        (mark,) = read("<p> a mug </p> [SEG]", untagged="drop").grounded
        assert (mark.image, mark.binding) == (None, Binding.UNTAGGED)

    @pytest.mark.parametrize(
        ("after", "image", "binding"),
        [
            ("(IMAGE1).", 0, Binding.TAGGED),
            ("(IMAGE3)", None, Binding.UNKNOWN_IMAGE),
            ("(IMAGE0)", None, Binding.UNKNOWN_IMAGE),
            (f"(IMAGE{'9' * 5000})", None, Binding.UNKNOWN_IMAGE),
            ("(IMAGE)", None, Binding.MALFORMED_TAG),
            ("(IMAGE 2)", None, Binding.MALFORMED_TAG),
            ("(IMAGEx)", None, Binding.MALFORMED_TAG),
            ("(image2)", None, Binding.MALFORMED_TAG),
            ("(IMAGE2", None, Binding.MALFORMED_TAG),
            ("IMAGE2)", None, Binding.MALFORMED_TAG),
            ("(2)", None, Binding.MALFORMED_TAG),
            ("and", 0, Binding.UNTAGGED),
        ],
    )
    def test_tags_that_only_text_can_spell(
        self, after: str, image: int | None, binding: Binding
    ) -> None:
        """A pretrained tokenizer spells tags as text, so anything can follow a [SEG]."""
        tokenizer = build_tokenizer([after, "[SEG"], 1)
        ids = tokenizer(f"[SEG] {after}", add_special_tokens=False).input_ids
        seg = tokenizer.convert_tokens_to_ids("[SEG]")
        (mark,) = parse_generated(tokenizer, [*ids, tokenizer.eos_token_id], seg, 2).grounded
        assert (mark.image, mark.binding) == (image, binding)

    def test_a_spelled_seg_is_no_seg(self) -> None:
        tokenizer = build_tokenizer(["a mug"], 2)
        plain = tokenizer.convert_tokens_to_ids("mug")
        tokenizer.backend_tokenizer.model = type(tokenizer.backend_tokenizer.model)(
            {
                ("[SEG]x" if index == plain else word): index
                for word, index in tokenizer.get_vocab().items()
            },
            unk_token="<unk>",
        )
        text = "<p> a </p> [SEG] (IMAGE2)"
        ids = tokenizer(text, add_special_tokens=False).input_ids
        seg = tokenizer.convert_tokens_to_ids("[SEG]")
        reading = parse_generated(tokenizer, [plain, *ids, tokenizer.eos_token_id], seg, 2)
        assert reading.spelled == 1
        assert [(one.label, one.image) for one in reading.grounded] == [("a", 1)]
