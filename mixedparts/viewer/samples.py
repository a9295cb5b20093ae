"""The values that the page shows: samples with images, answers and their masked regions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from mixedparts.masks import Rle


class Kind(StrEnum):
    """What a region is; the page draws each kind in its own style."""

    OBJECT = "object"
    COMMON = "common"  # a part that all objects of the sample have
    UNIQUE = "unique"  # a part that one of them has
    PART = "part"  # a part of a prediction, whose task does not say which of both


class Mark(StrEnum):
    """How a region compares with those of the other answer."""

    NONE = ""
    MATCH = "match"
    FALSE_POSITIVE = "false positive"
    MISS = "miss"
    WRONG_NAME = "wrong name"
    POOR_MASK = "poor mask"  # overlaps, but too little


@dataclass(frozen=True, slots=True)
class Region:
    """A named mask.

    Attributes:
        image: number of its image in the sample, from 0.
        label: name of the object class or part.
        kind: what it is.
        mask: in the original size of the image; None where a server sends it later.
        mark: how it compares with the other answer.
        score: confidence of a model, in [0, 1].
        note: a line for the region, such as `IoU 0.83 with wheel`.
        area: pixels of the mask, if they are known without it.
    """

    image: int
    label: str
    kind: Kind
    mask: Rle | None
    mark: Mark = Mark.NONE
    score: float | None = None
    note: str = ""
    area: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to the sample's question, of the dataset or of a model.

    Attributes:
        title: such as `Ground truth`.
        text: with its tags: `<p> a bus </p> [SEG] (IMAGE1)`.
        regions: all masks.
        seg: the region that the n-th `[SEG]` of the text means; -1 for none.
    """

    title: str
    text: str
    regions: tuple[Region, ...]
    seg: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ShownImage:
    """An image of a sample.

    Attributes:
        key: equal for the same image in several samples, which the page then stores once.
        name: for people.
        width, height: pixels of the stored grid, on which the masks lie.
        read: returns the bytes of the image file, or None where there are no pixels, and the masks
            are shown on an empty ground; raises InputError if it cannot be read.
    """

    key: str
    name: str
    width: int
    height: int
    read: Callable[[], bytes | None]


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of the page.

    Attributes:
        id: with the split, unique on the page; the link to the row contains both.
        source, split, task: of the row.
        question: of the row.
        images: in the order of the row, at least one.
        answers: at least one; the ground truth first, then those of models.
        scores: name of a score -> value; the page sorts by them.
        tags: groups that the page filters by, such as `worst`.
    """

    id: str
    source: str
    split: str
    task: str
    question: str
    images: tuple[ShownImage, ...]
    answers: tuple[Answer, ...]
    scores: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    tags: tuple[str, ...] = ()
