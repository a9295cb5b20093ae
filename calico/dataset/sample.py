"""What a sample is: pictures, named masks, a question and its answer."""

from __future__ import annotations

from dataclasses import dataclass

from mixedparts.masks import Rle


@dataclass(frozen=True, slots=True)
class ImageRef:
    """One image of a sample; `row` is its row in the images table of `split`."""

    split: str
    row: int
    image_id: str
    file_name: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Region:
    """One named mask: an object class or a part of one, in one image (counted from 0)."""

    label: str
    image: int
    mask: Rle
    is_part: bool

    def moved(self, image: int) -> Region:
        """Return the same region in another image of its sample."""
        return Region(self.label, image, self.mask, self.is_part)


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of `pairs`.

    Attributes:
        regions: objects, then parts, as the row lists them.
        targets: the region that each [SEG] of the answer means, in text order.
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
