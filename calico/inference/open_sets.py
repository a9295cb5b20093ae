"""Sets of images on their way to an answer: read, compared with earlier answers, decoded.

Worker processes can do all of it; they hand over whole groups, which are computed together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from calico.inference.answer import read_answer
from calico.inference.image_sets import ImageSet, Unusable
from calico.inference.predictor import Predictor
from calico.inference.queries import Query, task_question
from calico.processing.images import open_image
from mixedparts.errors import InputError
from mixedparts.images.opening import image_bytes


@dataclass(frozen=True, slots=True)
class _Read:
    """A set whose files are read.

    Attributes:
        asked: the set.
        question: in words.
        contents: bytes of its files.
        metadata: what identifies its answer besides id and question: paths, digests and task.
    """

    asked: ImageSet
    question: str
    contents: tuple[bytes, ...]
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OpenedSet:
    """A set with its decoded images.

    Attributes:
        asked: the set.
        query: its question and images.
        metadata: as `_Read.metadata`.
    """

    asked: ImageSet
    query: Query
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Group:
    """Sets that are computed together.

    Attributes:
        size: number of sets.
        opened: sets to compute; none if all are answered or rejected.
        unanswered: ids of those whose answers are missing.
        answered: number of sets answered before.
        rejected: sets that cannot be asked.
    """

    size: int
    opened: tuple[OpenedSet, ...]
    unanswered: frozenset[str]
    answered: int
    rejected: tuple[Unusable, ...]


class GroupOpener:
    """Reads and decodes the images of sets, in worker processes or here.

    Args:
        predictor: will answer.
        answers: folder of the answers.
    """

    def __init__(self, predictor: Predictor, answers: Path) -> None:
        self.most = predictor.config.prompt.max_images
        self.preparer = predictor.encoder.preparer
        # Here the predictor prepares them, those of equal sets once.
        self.prepares = predictor.config.training.loader_workers > 0
        self.answers = answers

    def open(self, sets: Sequence[ImageSet | Unusable]) -> Group:
        """Return the sets of a group, opened where they have to be computed."""
        read = [_read(each, self.most) for each in sets]
        # Answered sets stay undecoded unless another set of their group has to be answered.
        group = [each if _is_answered(self.answers, each) else _opened(each) for each in read]
        unanswered = frozenset(each.query.id for each in group if isinstance(each, OpenedSet))
        rejected = [each for each in group if isinstance(each, Unusable)]
        opened: list[OpenedSet] = []
        for each in group if unanswered else ():
            # Computed again, though answered: with fewer sets together, the others could be rounded
            # differently than in a run without interruption.
            one = _opened(each) if isinstance(each, _Read) else each
            if isinstance(one, OpenedSet):
                opened.append(self._prepared(one))
        answered = sum(isinstance(each, _Read) for each in group)
        return Group(len(group), tuple(opened), unanswered, answered, tuple(rejected))

    def _prepared(self, opened: OpenedSet) -> OpenedSet:
        if not self.prepares:
            return opened
        return replace(opened, query=opened.query.with_prepared(self.preparer))


def _read(asked: ImageSet | Unusable, most: int) -> _Read | Unusable:
    """Read the files of a set of at most `most` images, without decoding them."""
    if isinstance(asked, Unusable):
        return asked
    count = len(asked.images)
    if count > most:
        return Unusable(asked.id, f"it has {count} images, the model takes up to {most}")
    try:
        contents = tuple(image_bytes(path) for path in asked.images)
    except InputError as error:
        return Unusable(asked.id, error.message)
    # Digests, so that an image that was replaced under its old name is answered again.
    metadata = {
        "images": [str(path) for path in asked.images],
        "sha256": [hashlib.sha256(data).hexdigest() for data in contents],
        "task": str(asked.task),
    }
    question = asked.question or task_question(asked.task, len(contents))
    return _Read(asked, question, contents, metadata)


def _is_answered(answers: Path, read: _Read | Unusable) -> bool:
    if isinstance(read, Unusable):
        return False
    stored = read_answer(answers / read.asked.folder) or {}
    wanted = {**read.metadata, "id": read.asked.id, "question": read.question}
    return all(stored.get(key) == value for key, value in wanted.items())


def _opened(read: _Read | Unusable) -> OpenedSet | Unusable:
    """Decode the images of a set."""
    if isinstance(read, Unusable):
        return read
    named = zip(read.contents, read.asked.images, strict=True)
    try:
        images = tuple(open_image(data, str(path)) for data, path in named)
    except InputError as error:
        return Unusable(read.asked.id, error.message)
    return OpenedSet(read.asked, Query(read.asked.id, read.question, images), read.metadata)
