"""Questions: many wordings, none of which is another with one word changed."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from itertools import combinations
from string import ascii_letters

import pytest

from mixedparts.records import Task
from mixedparts.text.answers import (
    question,
)
from mixedparts.text.questions import MANY_QUESTIONS, QUESTIONS


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z{}']+", text.lower())


@pytest.mark.parametrize("known", [QUESTIONS, MANY_QUESTIONS], ids=["two", "many"])
def test_wordings_are_many_and_none_is_another_with_a_word_changed(
    known: dict[Task, tuple[str, ...]],
) -> None:
    for wordings in known.values():
        assert len(wordings) >= 25
        for one, other in combinations(map(words_of, wordings), 2):
            alike = SequenceMatcher(None, one, other, autojunk=False).ratio()
            assert alike < 0.8, (one, other)
    every = [text for wordings in known.values() for text in wordings]
    assert len(set(every)) == len(every)


@pytest.mark.parametrize("images", [2, 3, 4])
def test_every_wording_is_drawn_and_holds_no_markup(images: int) -> None:
    for task in Task:
        drawn = {question(task, draw, images) for draw in range(100)}
        assert len(drawn) == len((QUESTIONS if images == 2 else MANY_QUESTIONS)[task])
        assert all(set(text) <= set(ascii_letters + " ,.?:;'") for text in drawn)
