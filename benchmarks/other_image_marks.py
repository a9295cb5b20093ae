"""What answers to questions about the other image are worth, and what one image allows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.other_image import Asked
from mixedparts.records import Task
from mixedparts.text import answers as wording


@dataclass(frozen=True, slots=True)
class Marks:
    """How a set of answers did; every image of every pair counts once.

    Attributes:
        pairs: questions asked.
        exact: share of images answered with the right names and no others.
        choice: share of images whose answer is nearer to the right names than to any rival, by
            intersection over union of the names; ties count one half. One half is the most that
            can be had without the other image.
    """

    pairs: int
    exact: float
    choice: float


def single_image_bound(asked: Sequence[Asked], sees: int) -> float:
    """Return the best share of exact answers of anyone who sees one image of each pair.

    Args:
        asked: the questions.
        sees: 0, the image that the answer is for; 1, the other one.
    """
    given: dict[tuple[Task, str], Counter[frozenset[str]]] = defaultdict(Counter)
    for one in asked:
        for image in range(2):
            known = one.images[image if sees == 0 else 1 - image]
            given[one.task, known.key][one.answers[image]] += 1
    best = sum(max(counts.values()) for counts in given.values())
    return best / sum(sum(counts.values()) for counts in given.values())


def said_names(
    asked: Asked, text: str, part_names: frozenset[str]
) -> tuple[frozenset[str], frozenset[str]]:
    """Read what an answer says for each image.

    Args:
        asked: the question.
        text: of the answer.
        part_names: all names of parts; other phrases of an answer about parts name objects.
    """
    phrases = wording.parse_answer(text).phrases
    if asked.task is Task.COMMON_OBJECT:
        named = frozenset(phrase.label for phrase in phrases[:1])
        return named, named
    one, two = (
        frozenset(p.label for p in phrases if image in p.images and p.label in part_names)
        for image in range(2)
    )
    return one, two


def mark(
    asked: Sequence[Asked],
    answers: Mapping[str, str],
    part_names: frozenset[str],
    images: Sequence[int] = (0, 1),
) -> Marks:
    """Compare answers with what is right.

    Args:
        asked: the questions.
        answers: text by id of the question; none counts as empty.
        part_names: all names of parts.
        images: for which of the two images.
    """
    exact = choice = 0.0
    for one in asked:
        said = said_names(one, answers.get(one.id, ""), part_names)
        for image in images:
            right = overlap(said[image], one.answers[image])
            rival = max(overlap(said[image], names) for names in one.rivals[image])
            exact += said[image] == one.answers[image]
            choice += 0.5 if right == rival else float(right > rival)
    units = max(1, len(images) * len(asked))
    return Marks(len(asked), exact / units, choice / units)


def overlap(said: frozenset[str], true: frozenset[str]) -> float:
    return len(said & true) / len(said | true) if said | true else 1.0
