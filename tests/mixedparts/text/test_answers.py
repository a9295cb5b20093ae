"""Answers can be read back, and anything else can be read without harm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixedparts.records import Task
from mixedparts.text.answers import (
    Phrase,
    common_object_answer,
    parse_answer,
    part_answer,
)

NAMES = st.sampled_from(["dog", "armchair", "trash can", "aeroplane", "side mirror", "head"])


@given(NAMES)
def test_a_common_object_is_read_back(name: str) -> None:
    assert parse_answer(common_object_answer(name)).phrases == (Phrase(name, (0, 1)),)


@given(NAMES, NAMES, st.lists(NAMES, min_size=1, max_size=5))
def test_common_parts_are_read_back(first: str, second: str, parts: list[str]) -> None:
    answer = part_answer(Task.COMMON_PARTS, (first, second), tuple((p, (0, 1)) for p in parts))
    objects = [Phrase(first, (0, 1))]
    if first != second:
        objects = [Phrase(first, (0,)), Phrase(second, (1,))]
    assert parse_answer(answer).phrases == (*objects, *(Phrase(p, (0, 1)) for p in parts))


@given(NAMES, st.lists(st.tuples(NAMES, st.sampled_from([(0,), (1,)])), min_size=1, max_size=5))
def test_unique_parts_are_read_back(name: str, parts: list[tuple[str, tuple[int, ...]]]) -> None:
    answer = part_answer(Task.UNIQUE_PARTS, (name, name), tuple(parts))
    phrases = parse_answer(answer).phrases
    assert phrases == (Phrase(name, (0, 1)), *(Phrase(p, images) for p, images in parts))


def test_an_untagged_seg_counts_for_the_first_image() -> None:
    parsed = parse_answer("<p> a dog </p> [SEG] [SEG] (IMAGE2)")
    assert parsed.phrases == (Phrase("dog", (0, 1)),)
    assert parsed.untagged == 1


@pytest.mark.parametrize("number", ["0", "3", "999999999"])
def test_an_unknown_image_is_counted_and_bound_to_none(number: str) -> None:
    parsed = parse_answer(f"<p> a dog </p> [SEG] (IMAGE{number}) [SEG] (IMAGE1)")
    assert parsed.phrases == (Phrase("dog", (-1, 0)),)
    assert parsed.unknown_image == 1


def test_a_seg_before_any_phrase_has_no_label() -> None:
    parsed = parse_answer("[SEG] (IMAGE2) <p> the head </p> [SEG] (IMAGE1)")
    assert parsed.phrases == (Phrase("", (1,)), Phrase("head", (0,)))
    assert parsed.unnamed == 1


def test_more_images_than_two() -> None:
    assert parse_answer("<p>x</p>[SEG](IMAGE4)", images=4).phrases == (Phrase("x", (3,)),)


@given(st.text(alphabet=st.sampled_from("<p/> [SEG](IMAGE12)ab"), max_size=60))
def test_any_text_is_read_without_harm(text: str) -> None:
    parsed = parse_answer(text)
    assert all(image in (-1, 0, 1) for phrase in parsed.phrases for image in phrase.images)
