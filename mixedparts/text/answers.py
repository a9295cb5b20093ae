"""Questions and answers of the samples, the order of their [SEG] tokens, and the way back.

Form of an answer (CALICO, section 3; tags as in the authors' loaders): a phrase stands between
`<p>` and `</p>`, and is followed by one `[SEG]` a mask, each followed by the tag of its image:
`<p> the head </p> [SEG] (IMAGE1) [SEG] (IMAGE2)`. Objects are named first, then parts. The wording
is our own; that of questions stands in `mixedparts.text.questions`.
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

PART_ENDS = (".", ", ", " and ", ", and ")  # what stands after a part's mention
_NUMBERS = dict(
    enumerate(("two", "three", "four", "five", "six", "seven", "eight", "nine"), start=2)
)
MOST_WORDED = max(_NUMBERS)  # of a sample that can be worded

_TOKEN = re.compile(r"<p>\s*(.*?)\s*</p>|\[SEG\](?:\s*\(IMAGE(\d{1,9})\))?", re.DOTALL)
_ARTICLE = re.compile(r"^(?:the|an|a)\s+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Phrase:
    """A named region: its label without article, and the images (from 0) of its [SEG] tokens."""

    label: str
    images: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """What an answer says.

    Attributes:
        phrases: in the order of the text; one with no [SEG] after it has no images.
        untagged: [SEG] tokens without an image tag; they count for image 0.
        unknown_image: tags of an image number below 1 or above the number of images; such a
            [SEG] is bound to image -1 so that nobody decodes it on a wrong image.
        unnamed: [SEG] tokens before any phrase; they form a phrase with an empty label.
    """

    phrases: tuple[Phrase, ...]
    untagged: int = 0
    unknown_image: int = 0
    unnamed: int = 0


def question(task: Task, draw: int, images: int = 2) -> str:
    """Return one of the task's wordings for a number of images, chosen by a number from 0 up."""
    wordings = questions(task, images)
    return wordings[draw % len(wordings)]


@lru_cache
def questions(task: Task, images: int) -> tuple[str, ...]:
    """Return all of the task's wordings for a number of images."""
    if images == 2:
        return QUESTIONS[task]
    return tuple(text.replace("{n}", _NUMBERS[images]) for text in MANY_QUESTIONS[task])


def common_object_answer(name: str, images: int = 2) -> str:
    """Return the answer that grounds one object class in all images."""
    all_pictures = "Both pictures" if images == 2 else f"All {_NUMBERS[images]} pictures"
    return f"{all_pictures} contain {_grounded(_indefinite(name), tuple(range(images)))}."


def part_answer(
    task: Task, categories: Sequence[str], parts: Sequence[tuple[str, tuple[int, ...]]]
) -> str:
    """Return the answer of a part task.

    Args:
        task: `common_parts` or `unique_parts`.
        categories: object class in each image.
        parts: name and images of each part, in the order of the row's masks; at least one.
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
    """Return the words between the sentence of the objects and the parts."""
    noun, verb = ("part", "is") if single else ("parts", "are")
    if task is Task.COMMON_PARTS:
        return f" The common {noun} {verb} "
    return f" The {noun} seen on one only {verb} "


def part_mention(name: str, images: tuple[int, ...]) -> str:
    """Return the words that ground a part in some images."""
    return _grounded(f"the {name}", images)


def part_ends(places: NDArray[np.int64], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return which of `PART_ENDS` follows each mention.

    Args:
        places: (k,) place of each mention among those of its answer, from 0.
        numbers: (k,) how many these are.
    """
    left = numbers - 1 - places
    return np.where(left == 0, 0, np.where(left > 1, 1, np.where(numbers == 2, 2, 3)))


def parse_answer(text: str, images: int = 2) -> ParsedAnswer:
    """Read the phrases and their images back from an answer, whatever its wording.

    Args:
        text: an answer, of the dataset or of a model; any text is accepted.
        images: how many images the sample has.
    """
    phrases: list[tuple[str, list[int]]] = []
    untagged = unknown = unnamed = 0
    for match in _TOKEN.finditer(text):
        if match.group(1) is not None:
            phrases.append((label_of(match.group(1)), []))
            continue
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
    found = tuple(Phrase(label, tuple(where)) for label, where in phrases)
    return ParsedAnswer(found, untagged, unknown, unnamed)


def label_of(phrase: str) -> str:
    """Return a phrase's label: white space folded, leading article dropped."""
    return _ARTICLE.sub("", " ".join(phrase.split()))


def _grounded(phrase: str, images: tuple[int, ...]) -> str:
    marks = " ".join(f"[SEG] (IMAGE{image + 1})" for image in images)
    return f"<p> {phrase} </p> {marks}"


def _indefinite(name: str) -> str:
    return f"{'an' if name[:1] in 'aeiou' else 'a'} {name}"
