"""Questions and answers of the samples, the order of their [SEG] tokens, and the way back.

Form of an answer (CALICO, section 3; tags as in the authors' loaders): a phrase stands between
`<p>` and `</p>`, and is followed by one `[SEG]` a mask, each followed by the tag of its image:
`<p> the head </p> [SEG] (IMAGE1) [SEG] (IMAGE2)`. Objects are named first, then parts. The wording
is our own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from mixedparts.records import Task

_NUMBERS = {2: "two", 3: "three", 4: "four"}

QUESTIONS: dict[Task, tuple[str, ...]] = {
    Task.COMMON_OBJECT: (
        "Which object do both pictures contain?",
        "What object is found in each of the two pictures?",
        "Name the object that the pictures share and mark it in both.",
        "Is there one kind of object in both pictures? Segment it.",
        "Point out the object that occurs in the first and in the second picture.",
        "Find the object common to these pictures.",
        "What can be seen in both pictures? Give its mask in each.",
        "Segment the object that appears twice, once a picture.",
        "Which thing is shown by both pictures?",
        "Say what the two pictures have in common as an object, with masks.",
    ),
    Task.COMMON_PARTS: (
        "Which parts do the two objects have in common?",
        "Name the parts that can be seen on both objects and segment them.",
        "What parts are shared by the objects in these pictures?",
        "Compare the objects: which parts appear on each of them?",
        "Segment every part that both objects show.",
        "Which components are visible in the first object and in the second one too?",
        "List the parts found on both objects, with their masks.",
        "Where do the two objects agree in their parts?",
        "Find the common parts of the two objects.",
        "Mark the parts that the first object and the second one share.",
    ),
    Task.UNIQUE_PARTS: (
        "Which parts does only one of the two objects show?",
        "Name the parts that are visible on one object and not on the other.",
        "How do the objects differ in their parts? Segment the differences.",
        "Compare the objects: which parts are seen on just one of them?",
        "Segment every part that belongs to a single object of the two.",
        "List the parts that the objects do not share, with their masks.",
        "What parts set the two objects apart?",
        "Find the parts that are unique to either object.",
        "Which components can be found in one picture only?",
        "Mark the parts by which the two objects differ.",
    ),
}

# For three and four images; {n} is the number in words.
MANY_QUESTIONS: dict[Task, tuple[str, ...]] = {
    Task.COMMON_OBJECT: (
        "Which object do all {n} pictures contain?",
        "What object is found in each of the {n} pictures?",
        "Name the object that the {n} pictures share and mark it in all of them.",
        "Is there one kind of object in all {n} pictures? Segment it.",
        "Find the object common to these {n} pictures.",
        "What can be seen in every one of the {n} pictures? Give its mask in each.",
        "Segment the object that occurs {n} times, once a picture.",
        "Which thing is shown by each of the {n} pictures?",
    ),
    Task.COMMON_PARTS: (
        "Which parts do the {n} objects have in common?",
        "Name the parts that can be seen on all {n} objects and segment them.",
        "What parts are shared by all the objects in these {n} pictures?",
        "Compare the {n} objects: which parts appear on each of them?",
        "Segment every part that all {n} objects show.",
        "List the parts found on every one of the {n} objects, with their masks.",
        "Where do all {n} objects agree in their parts?",
        "Mark the parts that no object of the {n} is without.",
    ),
    Task.UNIQUE_PARTS: (
        "Which parts does only one of the {n} objects show?",
        "Name the parts that are visible on one object and on none of the others.",
        "Compare the {n} objects: which parts are seen on just one of them?",
        "Segment every part that belongs to a single object of the {n}.",
        "List the parts that one of the {n} objects has to itself, with their masks.",
        "Find the parts that are unique to any one of the {n} objects.",
        "Which components can be found in one picture of the {n} only?",
        "What parts set one object apart from all the others?",
    ),
}

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
    wordings = (QUESTIONS if images == 2 else MANY_QUESTIONS)[task]
    return wordings[draw % len(wordings)].replace("{n}", _NUMBERS[images])


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
    objects = _objects(categories)
    listed = _enumerate([_grounded(f"the {name}", images) for name, images in parts])
    noun, verb = ("part", "is") if len(parts) == 1 else ("parts", "are")
    if task is Task.COMMON_PARTS:
        return f"{objects} The common {noun} {verb} {listed}."
    return f"{objects} The {noun} seen on one only {verb} {listed}."


def _objects(categories: Sequence[str]) -> str:
    """Return the sentence that grounds the objects, image by image."""
    number = len(categories)
    if len(set(categories)) == 1:
        all_objects = "Both objects" if number == 2 else f"All {_NUMBERS[number]} objects"
        return f"{all_objects} are {_grounded(_indefinite(categories[0]), tuple(range(number)))}."
    each = [_grounded(_indefinite(name), (image,)) for image, name in enumerate(categories)]
    if number == 2:
        return f"One object is {each[0]}, the other {each[1]}."
    return f"The {_NUMBERS[number]} objects are {_enumerate(each)}."


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


@lru_cache(maxsize=4_096)
def _grounded(phrase: str, images: tuple[int, ...]) -> str:
    marks = " ".join(f"[SEG] (IMAGE{image + 1})" for image in images)
    return f"<p> {phrase} </p> {marks}"


def _indefinite(name: str) -> str:
    return f"{'an' if name[:1] in 'aeiou' else 'a'} {name}"


def _enumerate(items: list[str]) -> str:
    if len(items) < 3:
        return " and ".join(items)
    return f"{', '.join(items[:-1])}, and {items[-1]}"
