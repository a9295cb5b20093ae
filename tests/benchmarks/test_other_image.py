"""Questions about the other image: what makes them so, how they are marked and learnt."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
import torch

from benchmarks.oracle_features import LabelCode, PairDraw, build_subject, train_stage
from benchmarks.other_image import (
    Shown,
    answer,
    asked_questions,
    draw_triangles,
    is_triangle,
    part_names,
    questions,
    right_answer,
    shown_images,
)
from benchmarks.other_image_marks import mark, said_names, single_image_bound
from benchmarks.other_image_proof import table
from calico.dataset.pairs import BuiltDataset
from mixedparts.errors import InputError
from mixedparts.progress import Silent
from mixedparts.records import Task
from tests.factories.micro_build import write_build

OBJECT, PARTS = Task.COMMON_OBJECT, Task.UNIQUE_PARTS
CLASSES = ("bus", "car", "chair", "dog", "lamp")


def shown(row: int, *classes: str, parts: str = "", split: str = "train") -> Shown:
    """Return an image; `parts`, by their initials, are those of every class of it."""
    seen = frozenset(parts) if parts else None
    return Shown("paco", split, row, classes, tuple(seen for _ in classes))


@pytest.fixture(scope="module")
def images() -> list[Shown]:
    """Two images of every two classes, eight of one class with changing parts."""
    pairs = [pair for pair in combinations(CLASSES, 2) for _ in range(2)]
    two = [shown(row, *pair) for row, pair in enumerate(pairs)]
    parts = ("abc", "ab", "ac", "bc", "a", "b", "c", "abd")
    one = [shown(50 + row, "bus", parts=names) for row, names in enumerate(parts)]
    return [*two, *one]


def test_three_images_that_share_one_class_in_turn_are_a_triangle() -> None:
    a, b, c = shown(0, "bus", "car"), shown(1, "car", "dog"), shown(2, "bus", "dog")
    assert is_triangle(OBJECT, (a, b, c))
    assert answer(OBJECT, a, b) == {"car"}
    assert not is_triangle(OBJECT, (a, b, shown(3, "car", "lamp")))  # car is shared twice
    assert not is_triangle(OBJECT, (a, b, shown(3, "bus", "dog", split="test")))


def test_parts_must_differ_beside_both_partners() -> None:
    a, b, c = (shown(row, "bus", parts=names) for row, names in enumerate(("ab", "bc", "ac")))
    assert is_triangle(PARTS, (a, b, c))
    assert answer(PARTS, a, b) == {"a"}
    same = shown(3, "bus", parts="bcd")  # beside it, too, only a is unique to the first
    assert not is_triangle(PARTS, (a, b, same))


def test_who_sees_one_image_is_right_half_of_the_time_and_no_more(images: list[Shown]) -> None:
    asked = asked_questions(images, 20)
    assert len(asked[OBJECT]) >= 18
    assert len(asked[PARTS]) >= 6
    for some in asked.values():
        assert single_image_bound(some, sees=0) == 0.5
    assert single_image_bound(asked[OBJECT], sees=1) == 0.5


def test_triangles_have_no_image_in_common_and_are_the_same_again(images: list[Shown]) -> None:
    drawn = draw_triangles(OBJECT, images, 20)
    used = [image.key for triangle in drawn for image in triangle]
    assert len(used) == len(set(used))
    assert drawn == draw_triangles(OBJECT, list(images), 20)
    assert drawn[:2] == draw_triangles(OBJECT, images, 2)
    assert drawn != draw_triangles(OBJECT, images, 20, seed=1)


@pytest.mark.parametrize("task", [OBJECT, PARTS])
def test_right_answers_get_full_marks_and_those_beside_the_third_none(
    images: list[Shown], task: Task
) -> None:
    names = part_names(images)
    asked = asked_questions(images, 20)[task]
    marks = mark(asked, {one.id: right_answer(one) for one in asked}, names)
    assert (marks.pairs, marks.exact, marks.choice) == (len(asked), 1.0, 1.0)
    by_first = {one.images[0].key: [] for one in asked}
    for one in asked:
        by_first[one.images[0].key].append(one)
    swapped = {}
    for one, other in by_first.values():  # each is answered as if its second image were the third
        swapped |= {one.id: right_answer(other), other.id: right_answer(one)}
    wrong = mark(asked, swapped, names, images=[0])
    assert (wrong.exact, wrong.choice) == (0.0, 0.0)


@pytest.mark.parametrize("task", [OBJECT, PARTS])
def test_the_same_words_beside_both_partners_choose_right_half_of_the_time(
    images: list[Shown], task: Task
) -> None:
    """Whoever does not look at the second image cannot get past one half."""
    asked = asked_questions(images, 20)[task]
    first = {one.images[0].key: right_answer(one) for one in asked}
    blind = {one.id: first[one.images[0].key] for one in asked}
    marks = mark(asked, blind, part_names(images), images=[0])
    assert marks.exact == 0.5
    assert marks.choice == 0.5


def test_no_answer_is_a_choice_by_half(images: list[Shown]) -> None:
    asked = asked_questions(images, 20)[OBJECT]
    marks = mark(asked, {}, part_names(images))
    assert (marks.exact, marks.choice) == (0.0, 0.5)


def test_objects_are_no_parts_of_an_answer() -> None:
    triangle = tuple(shown(r, "bus", parts=names) for r, names in enumerate(("ab", "bc", "ac")))
    one = questions(PARTS, [triangle])[0]  # type: ignore[list-item]
    text = "One is <p> a bus </p> [SEG] (IMAGE1), <p> the a </p> [SEG] (IMAGE1) [SEG] (IMAGE2)."
    assert said_names(one, text, frozenset("abc")) == ({"a"}, {"a"})


def test_a_build_says_what_its_images_show(built: Path) -> None:
    found = shown_images(BuiltDataset(built))
    assert {image.split for image in found} == {"train", "validation", "test"}
    assert len({image.key for image in found}) == len(found)
    assert any(image.parts[0] for image in found)


def test_a_build_without_entities_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no table of entities"):
        shown_images(BuiltDataset(write_build(tmp_path / "build")))


def test_labels_of_images_become_tokens(images: list[Shown]) -> None:
    code = LabelCode.of(images)
    features = code.features([images[0], None, shown(0, "zebra")]).vision
    assert features.shape == (3, code.tokens, 1)
    assert (features[0] > 0).sum() == 2
    assert not features[1:].any()


def test_pairs_to_learn_from_are_of_the_train_split(images: list[Shown]) -> None:
    draw = PairDraw([*images, shown(99, "bus", "car", split="test")])
    asked = [one for step in range(20) for one in draw.batch(4, 0, step)]
    assert {one.task for one in asked} == {OBJECT, PARTS}
    assert {image.split for one in asked for image in one.images} == {"train"}
    assert all(len(one.answers[0]) == 1 for one in asked if one.task is OBJECT)
    with pytest.raises(InputError, match="no pair of images"):
        PairDraw(images[:1])


def test_a_hidden_image_changes_nothing(built: Path, images: list[Shown]) -> None:
    dataset, code = BuiltDataset(built), LabelCode.of(images)
    one = questions(OBJECT, draw_triangles(OBJECT, images, 1))[0]
    other = replace(one, images=(one.images[0], shown(0, "lamp")))
    for hidden in (True, False):
        subject = build_subject(dataset, code, 0, hidden)
        with torch.no_grad():
            same = bool(subject.loss([one]) == subject.loss([other]))
        assert same == hidden


def test_a_few_steps_teach(built: Path, images: list[Shown]) -> None:
    draw = PairDraw(images)
    subject = build_subject(BuiltDataset(built), LabelCode.of(images), 0, hidden=False)
    asked = questions(OBJECT, draw_triangles(OBJECT, images, 2))
    with torch.no_grad():
        before = float(subject.loss(asked))
    train_stage(subject, draw, 20, 0, Silent())
    with torch.no_grad():
        assert float(subject.loss(asked)) < 0.8 * before
    assert subject.answers(asked).keys() == {one.id for one in asked}


def test_the_table_has_bounds_and_what_was_measured(images: list[Shown]) -> None:
    asked = asked_questions(images, 20)
    marks = {
        task: mark(some, {one.id: right_answer(one) for one in some}, part_names(images))
        for task, some in asked.items()
    }
    text = table(asked, {"right answers": marks})
    assert "| at best, who sees only the image that the answer is for | 50.0 | 50.0 |" in text
    assert "| right answers | 100.0 | 100.0 | 100.0 | 100.0 |" in text
