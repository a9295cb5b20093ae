"""The types of a sample: images, named masks, a question and its answer."""

from __future__ import annotations

from dataclasses import dataclass

from mixedparts.masks import Rle


@dataclass(frozen=True, slots=True)
class ImageRef:
    """One image of a sample.

    Attributes:
        split: whose images table contains the image.
        row: in this table.
        image_id: of the source.
        file_name: of the source.
        width: in pixels.
        height: in pixels.
    """

    split: str
    row: int
    image_id: str
    file_name: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Region:
    """One named mask: an object class or a part of one, in one image.

    Attributes:
        label: name of the class or part.
        image: index of the image in its sample, counted from 0.
        mask: at the size of the image.
        is_part: whether it is a part.
    """

    label: str
    image: int
    mask: Rle
    is_part: bool

    def moved(self, image: int) -> Region:
        """Return the same region with another image index."""
        return Region(self.label, image, self.mask, self.is_part)


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of the table `pairs`.

    Attributes:
        id: unique in the dataset.
        source: name of the source that the images come from.
        split: name of the split.
        task: a value of `mixedparts.records.Task`.
        images: in the order of the tags (IMAGE1), (IMAGE2) …
        regions: objects, then parts, in the order of the row's lists.
        targets: the region that each [SEG] of the answer means, in the order of the text.
        question: plain text.
        answer: text with `<p>`, `</p>`, [SEG] and image tags.
    """

    id: str
    source: str
    split: str
    task: str
    images: tuple[ImageRef, ...]
    regions: tuple[Region, ...]
    targets: tuple[Region, ...]
    question: str
    answer: str
