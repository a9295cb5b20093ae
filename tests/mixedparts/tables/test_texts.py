"""Texts of many samples at once equal those worded one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixedparts.pairing.samples import TASKS
from mixedparts.records import Task
from mixedparts.tables.texts import BatchTexts, Mentions
from mixedparts.text import answers as wording

CLASSES = ("armchair", "chair", "ottoman")
PARTS = ("arm", "back", "leg", "seat")


@st.composite
def samples(draw: st.DrawFn, images: int) -> list[dict[str, Any]]:
    """Return samples as (task, class codes, parts as (code, image)), and a number to draw with."""
    found = []
    for _ in range(draw(st.integers(0, 6))):
        task = draw(st.sampled_from(Task))
        classes = draw(st.lists(st.integers(0, len(CLASSES) - 1), min_size=images, max_size=images))
        code = st.integers(0, len(PARTS) - 1)
        if task is Task.COMMON_OBJECT:
            parts = []
            classes = classes[:1] * images
        elif task is Task.COMMON_PARTS:
            parts = [(c, images) for c in draw(st.lists(code, min_size=1, max_size=4))]
        else:
            one = st.tuples(code, st.integers(0, images - 1))
            parts = draw(st.lists(one, min_size=1, max_size=5))
        number = draw(st.integers(0, 2**64 - 1))
        found.append({"task": task, "classes": classes, "parts": parts, "draw": number})
    return found


@pytest.mark.parametrize("images", [2, 3, 4])
@given(data=st.data())
def test_texts_are_those_of_wording(images: int, data: st.DataObject) -> None:
    given_samples = data.draw(samples(images))
    texts = BatchTexts(CLASSES, PARTS, images)
    tasks = np.array([TASKS.index(s["task"]) for s in given_samples], np.int64)
    classes = np.array([s["classes"] for s in given_samples], np.int64).reshape(-1, images)
    flat = [(row, *part) for row, s in enumerate(given_samples) for part in s["parts"]]
    mentions = Mentions(*np.array(flat, np.int64).reshape(-1, 3).T)
    draws = np.array([s["draw"] for s in given_samples], np.uint64)

    expected = []
    for sample in given_samples:
        names = [CLASSES[code] for code in sample["classes"]]
        if sample["task"] is Task.COMMON_OBJECT:
            expected.append(wording.common_object_answer(names[0], images))
            continue
        every = tuple(range(images))
        parts = [(PARTS[c], every if i == images else (i,)) for c, i in sample["parts"]]
        expected.append(wording.part_answer(sample["task"], names, parts))
    assert texts.answers(tasks, classes, mentions).to_pylist() == expected
    asked = [wording.question(s["task"], s["draw"], images) for s in given_samples]
    assert texts.questions(tasks, draws).to_pylist() == asked
