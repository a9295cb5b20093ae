"""Swapped samples read as if the dataset had paired their images the other way round."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.dataset.sample import ImageRef, Region, Sample
from calico.dataset.swap import swapped
from mixedparts.masks import Rle, from_dense
from mixedparts.records import Task
from mixedparts.text import answers as wording

NAMES = ("arm", "back", "leg", "seat")


def mask(number: int) -> Rle:
    """Return a mask that no other number has."""
    dense = np.zeros((4, 8), np.uint8)
    dense[number // 8, number % 8] = 1
    return from_dense(dense)


def sample(
    task: Task, classes: tuple[str, str], parts: list[tuple[str, tuple[int, ...]]]
) -> Sample:
    """Return a sample as the dataset would tell it; parts are sorted by images and name."""
    parts = sorted(parts, key=lambda part: (part[1], part[0]))
    wanted = [(name, image, False) for image, name in enumerate(classes)]
    wanted += [(name, image, True) for name, images in parts for image in images]
    regions = tuple(
        Region(name, image, mask(number), is_part)
        for number, (name, image, is_part) in enumerate(wanted)
    )
    if task is Task.COMMON_OBJECT:
        answer = wording.common_object_answer(classes[0])
    else:
        answer = wording.part_answer(task, classes, parts)
    images = tuple(ImageRef("train", row, f"i{row}", "", 8, 4) for row in range(2))
    return Sample("s", "paco", "train", task, images, regions, regions, "?", answer)


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    task = draw(st.sampled_from(list(Task)))
    classes = (draw(st.sampled_from(["chair", "owl"])), draw(st.sampled_from(["chair", "owl"])))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    if task is Task.COMMON_OBJECT:
        return sample(task, (classes[0], classes[0]), [])
    if task is Task.COMMON_PARTS:
        return sample(task, classes, [(name, (0, 1)) for name in names])
    return sample(task, classes, [(name, (draw(st.integers(0, 1)),)) for name in names])


def marks(one: Sample) -> Iterator[tuple[str, int, object]]:
    """Yield label and image that the answer gives each [SEG], and the mask it means."""
    phrases = wording.parse_answer(one.answer).phrases
    said = [(phrase.label, image) for phrase in phrases for image in phrase.images]
    for (label, image), target in zip(said, one.targets, strict=True):
        assert (label, image) == (target.label, target.image)
        yield label, image, target.mask


@given(samples())
def test_it_is_what_the_dataset_says_of_the_pair_the_other_way_round(one: Sample) -> None:
    found = swapped(one)
    parts = [
        (phrase.label, tuple(sorted(1 - image for image in phrase.images)))
        for phrase in wording.parse_answer(one.answer).phrases
        if phrase.label in NAMES
    ]
    classes = tuple(t.label for t in sorted(one.targets, key=lambda t: -t.image) if not t.is_part)
    assert found.answer == sample(Task(one.task), classes, parts).answer
    assert found.images == one.images[::-1]
    assert swapped(found) == one


@given(samples())
def test_every_mark_keeps_its_mask(one: Sample) -> None:
    before = {(label, 1 - image, mask) for label, image, mask in marks(one)}
    assert set(marks(swapped(one))) == before


@pytest.mark.parametrize("answer", ["I see <p> a cat </p> [SEG] (IMAGE2) [SEG] (IMAGE1)."])
def test_another_wording_keeps_its_words(answer: str) -> None:
    one = sample(Task.COMMON_OBJECT, ("cat", "cat"), [])
    one = replace(one, answer=answer, targets=one.targets[::-1])
    found = swapped(one)
    assert found.answer == "I see <p> a cat </p> [SEG] (IMAGE1) [SEG] (IMAGE2)."
    assert [target.mask for target in found.targets] == [target.mask for target in one.targets]
