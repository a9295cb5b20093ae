"""Word the questions and answers of samples, and parse answers back into phrases and images.

Form of an answer (CALICO, arXiv 2412.19331, section 3; tags as in the loaders of the authors): a
phrase is enclosed in `<p>` and `</p>` and followed by one `[SEG]` for each of its masks, each
followed by the tag of its image: `<p> the head </p> [SEG] (IMAGE1) [SEG] (IMAGE2)`. Objects come
first, then parts. The wording is our own; `mixedparts.text.questions` has that of questions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mixedparts.records import Task
from mixedparts.text.questions import MANY_QUESTIONS, QUESTIONS

PART_ENDS = (".", ", ", " and ", ", and ")  # the text that follows a part's mention
_NUMBERS = dict(
    enumerate(("two", "three", "four", "five", "six", "seven", "eight", "nine"), start=2)
)
MOST_WORDED = max(_NUMBERS)  # most images of a sample for which there is a wording

# White space is optional, because models generate it freely. An image number has at most nine
# digits: `int` raises for a text of thousands.
_TOKEN = re.compile(r"<p>\s*(.*?)\s*</p>|\[SEG\](?:\s*\(IMAGE(\d{1,9})\))?", re.DOTALL)
_ARTICLE = re.compile(r"^(?:the|an|a)\s+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Phrase:
    """A named region: label without article, and image numbers (from 0) of its [SEG] tokens."""

    label: str
    images: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """The phrases of an answer and the faults of its grounding tokens.

    Attributes:
        phrases: in the order of the text; a phrase without [SEG] after it has no images.
        untagged: [SEG] tokens without an image tag; they count for image 0.
        unknown_image: tags of an image number below 1 or above the number of images; such a
            [SEG] gets image -1, so that its mask is never decoded on a wrong image.
        unnamed: [SEG] tokens before any phrase; they form a phrase with an empty label.
    """

    phrases: tuple[Phrase, ...]
    untagged: int = 0
    unknown_image: int = 0
    unnamed: int = 0


def question(task: Task, number: int, images: int = 2) -> str:
    """Return one of the task's wordings.

    Args:
        task: what is asked about.
        number: at least 0; modulo the number of wordings it selects one of them.
        images: images of the sample.

    Returns:
        The question.
    """
    wordings = questions(task, images)
    return wordings[number % len(wordings)]


@lru_cache
def questions(task: Task, images: int) -> tuple[str, ...]:
    """Return all of the task's wordings for a number of images."""
    if images == 2:
        return QUESTIONS[task]
    return tuple(text.replace("{n}", _NUMBERS[images]) for text in MANY_QUESTIONS[task])


def common_object_answer(name: str, images: int = 2) -> str:
    """Return the answer that grounds one object class in all images."""
    all_images = "Both pictures" if images == 2 else f"All {_NUMBERS[images]} pictures"
    return f"{all_images} contain {_grounded(_indefinite(name), tuple(range(images)))}."


def part_answer(
    task: Task, categories: Sequence[str], parts: Sequence[tuple[str, tuple[int, ...]]]
) -> str:
    """Return the answer of a part task.

    Args:
        task: `common_parts` or `unique_parts`.
        categories: object class in each image.
        parts: name and images of each part, in the order of the row's masks; at least one.

    Returns:
        The sentence of the objects, then the sentence of the parts.
    """
    ends = part_ends(np.arange(len(parts)), np.full(len(parts), len(parts))).tolist()
    mentions = [part_mention(*part) + PART_ENDS[end] for part, end in zip(parts, ends, strict=True)]
    return objects_sentence(categories) + part_lead(task, len(parts) == 1) + "".join(mentions)


def objects_sentence(categories: Sequence[str]) -> str:
    """Return the sentence of a part answer that grounds the objects, image by image."""
    number = len(categories)
    if len(set(categories)) == 1:
        all_objects = "Both objects" if number == 2 else f"All {_NUMBERS[number]} objects"
        return f"{all_objects} are {_grounded(_indefinite(categories[0]), tuple(range(number)))}."
    each = [_grounded(_indefinite(name), (image,)) for image, name in enumerate(categories)]
    if number == 2:
        return f"One object is {each[0]}, the other {each[1]}."
    return f"The {_NUMBERS[number]} objects are {', '.join(each[:-1])}, and {each[-1]}."


def part_lead(task: Task, single: bool) -> str:
    """Return the words between the sentence of the objects and the first part."""
    noun, verb = ("part", "is") if single else ("parts", "are")
    if task is Task.COMMON_PARTS:
        return f" The common {noun} {verb} "
    return f" The {noun} seen on one only {verb} "


def part_mention(name: str, images: tuple[int, ...]) -> str:
    """Return the words that ground a part in some images."""
    return _grounded(f"the {name}", images)


def part_ends(places: NDArray[np.int64], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return `(k,)` int64, which of `PART_ENDS` follows each mention.

    Args:
        places: `(k,)` int64, position of each mention among those of its answer, from 0.
        numbers: `(k,)` int64, how many mentions that answer has.
    """
    # The last mention ends the sentence. Two are joined by "and"; of three or more, the last one
    # but one is followed by ", and " and those before it by a comma.
    left = numbers - 1 - places
    return np.where(left == 0, 0, np.where(left > 1, 1, np.where(numbers == 2, 2, 3)))


def parse_answer(text: str, images: int = 2) -> ParsedAnswer:
    """Parse the phrases of an answer and their images; the wording does not matter.

    Args:
        text: an answer of the dataset or of a model; any text is accepted.
        images: how many images the sample has.
    """
    phrases: list[tuple[str, list[int]]] = []
    untagged = unknown = unnamed = 0
    for match in _TOKEN.finditer(text):
        if match.group(1) is not None:
            phrases.append((label_of(match.group(1)), []))
            continue
        # A [SEG] belongs to the last phrase before it. One without a phrase still keeps its mask,
        # under an empty label.
        if not phrases:
            unnamed += 1
            phrases.append(("", []))
        if match.group(2) is None:
            untagged += 1
            phrases[-1][1].append(0)
            continue
        image = int(match.group(2)) - 1
        if not 0 <= image < images:
            unknown += 1
            image = -1
        phrases[-1][1].append(image)
    parsed = tuple(Phrase(label, tuple(numbers)) for label, numbers in phrases)
    return ParsedAnswer(parsed, untagged, unknown, unnamed)


def label_of(phrase: str) -> str:
    """Return a phrase's label: white space collapsed, leading article dropped."""
    return _ARTICLE.sub("", " ".join(phrase.split()))


def _grounded(phrase: str, images: tuple[int, ...]) -> str:
    marks = " ".join(f"[SEG] (IMAGE{image + 1})" for image in images)
    return f"<p> {phrase} </p> {marks}"


def _indefinite(name: str) -> str:
    return f"{'an' if name[:1] in 'aeiou' else 'a'} {name}"
