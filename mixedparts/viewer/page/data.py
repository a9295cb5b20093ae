"""The JSON that the page reads, in a file and from the server.

    {"format": 1,
     "images": [{"key": "test/8", "name": "paco 900000006", "width": 640, "height": 480,
                 "address": ""}],
     "masks": ["<COCO run lengths>", ...],
     "samples": [{"id": "001b…", "source": "paco", "split": "test", "task": "common_parts",
                  "question": "…", "images": [0, 1], "tags": [], "scores": {},
                  "answers": [{"title": "Ground truth",
                               "pieces": ["Both objects are ", {"text": "a bus",
                                                                "regions": [0, 1]}, "."],
                               "regions": [{"image": 0, "label": "bus", "kind": "object",
                                            "mask": 0, "area": 5120, "mark": "", "score": null,
                                            "note": ""}]}]}]}

`images` of a sample, and `mask` of a region, are positions in the lists above: an image or a mask
that several samples show is there once. `image` of a region counts from 0 within its sample. Masks
are COCO compressed run lengths (column by column, background first) in the image's own width and
height; -1 stands for one that the server sends with a single sample. `address` is where the server
has the image. In a file it is empty, and the image is the text of the element `image-N`, the
address of a `data:` image.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from mixedparts import masks
from mixedparts.viewer.page.colours import KINDS, OBJECTS, PARTS
from mixedparts.viewer.page.pieces import Piece, pieces_of
from mixedparts.viewer.samples import Answer, Region, Sample, ShownImage

FORMAT = 1


class ImageData(msgspec.Struct, frozen=True):
    """An image; see the module."""

    key: str
    name: str
    width: int
    height: int
    address: str = ""


class RegionData(msgspec.Struct, frozen=True):
    """A region; see the module."""

    image: int
    label: str
    kind: str
    mask: int
    area: int
    mark: str = ""
    score: float | None = None
    note: str = ""


class AnswerData(msgspec.Struct, frozen=True):
    """An answer; see the module."""

    title: str
    pieces: list[Piece]
    regions: list[RegionData]


class SampleData(msgspec.Struct, frozen=True):
    """A sample; see the module."""

    id: str
    source: str
    split: str
    task: str
    question: str
    images: list[int]
    answers: list[AnswerData]
    tags: list[str]
    scores: dict[str, float]


class Palette(msgspec.Struct, frozen=True):
    """Colours as `#RRGGBB`: of objects and parts in the order of their names, and of kinds."""

    objects: list[str] = msgspec.field(default_factory=lambda: list(OBJECTS))
    parts: list[str] = msgspec.field(default_factory=lambda: list(PARTS))
    kinds: dict[str, str] = msgspec.field(
        default_factory=lambda: {str(kind): colour for kind, colour in KINDS.items()}
    )


class PageData(msgspec.Struct, frozen=True):
    """All samples of a page or of one reply of the server; see the module."""

    images: list[ImageData]
    masks: list[str]
    samples: list[SampleData]
    format: int = FORMAT


class Collector:
    """Collects samples; each image and each mask is kept once."""

    def __init__(self) -> None:
        self.images: list[ShownImage] = []
        self._samples: list[SampleData] = []
        self._image_of: dict[str, int] = {}
        self._mask_of: dict[bytes, int] = {}

    def add(self, sample: Sample) -> None:
        """Add one sample."""
        self._samples.append(
            SampleData(
                id=sample.id,
                source=sample.source,
                split=sample.split,
                task=sample.task,
                question=sample.question,
                images=[self._image(image) for image in sample.images],
                answers=[self._answer(answer) for answer in sample.answers],
                tags=list(sample.tags),
                scores=dict(sample.scores),
            )
        )

    def data(self, addresses: Iterable[str] = ()) -> PageData:
        """Return everything that was added.

        Args:
            addresses: of the images, in their order; none for a file.
        """
        known = list(addresses) or [""] * len(self.images)
        images = [
            ImageData(image.key, image.name, image.width, image.height, address)
            for image, address in zip(self.images, known, strict=True)
        ]
        return PageData(images, [counts.decode() for counts in self._mask_of], self._samples)

    def _image(self, image: ShownImage) -> int:
        number = self._image_of.setdefault(image.key, len(self.images))
        if number == len(self.images):
            self.images.append(image)
        return number

    def _answer(self, answer: Answer) -> AnswerData:
        regions = [self._region(region) for region in answer.regions]
        return AnswerData(answer.title, pieces_of(answer.text, answer.seg), regions)

    def _region(self, region: Region) -> RegionData:
        mask, area = region.mask, region.area
        if area is None:
            area = 0 if mask is None else masks.area(mask)
        return RegionData(
            image=region.image,
            label=region.label,
            kind=str(region.kind),
            mask=-1 if mask is None else self._mask_of.setdefault(mask.counts, len(self._mask_of)),
            area=area,
            mark=str(region.mark),
            score=region.score,
            note=region.note,
        )
