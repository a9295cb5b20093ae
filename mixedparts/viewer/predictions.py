"""Predictions of any model, from the file that `calico-eval --predictions` reads.

A line is a JSON object with `id`, `answer` and `segments`: a list of objects with `label`, `image`
(from 0), `mask` (`size` as height and width, and COCO `counts`) and, if the model has one, `score`.
docs/evaluation.md describes the format; further keys are ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from mixedparts import masks
from mixedparts.errors import InputError
from mixedparts.files.packed_lines import packed_lines
from mixedparts.files.text import literal_note
from mixedparts.masks import InvalidMask, Rle
from mixedparts.text.answers import label_of, parse_answer
from mixedparts.viewer.samples import Answer, Kind, Region, Sample

_T = TypeVar("_T")
_SUBJECT = "the predictions file"
_HINT = "docs/evaluation.md describes the format."


class _Mask(msgspec.Struct):
    size: tuple[int, int]
    counts: str | list[int]


class _Segment(msgspec.Struct):
    label: str
    image: int
    mask: _Mask
    score: float | None = None


class _Line(msgspec.Struct):
    id: str
    answer: str
    segments: list[_Segment]
    trained_on_synthetic_images: bool = False


class _Id(msgspec.Struct):
    id: str


_LINES = msgspec.json.Decoder(_Line)
_IDS = msgspec.json.Decoder(_Id)


class Predictions:
    """The lines of a predictions file, decoded when their sample is shown.

    Args:
        path: the file; compressed by gzip or not.

    Raises:
        InputError: it cannot be read, has a line without an id, an id twice, or no line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: dict[str, tuple[int, bytes]] = {}
        for number, raw in packed_lines(path, _SUBJECT, "predictions.jsonl"):
            name = self._decoded(_IDS, number, raw).id
            if name in self._lines:
                first = self._lines[name][0]
                raise self._fault(number, f"id '{name}' is already in line {first}")
            self._lines[name] = number, raw
        if not self._lines:
            raise InputError(f"{_SUBJECT} {path} is empty: there is no line in it")

    @property
    def ids(self) -> frozenset[str]:
        """The ids of all lines."""
        return frozenset(self._lines)

    @property
    def first(self) -> str:
        """The id of the first line."""
        return next(iter(self._lines))

    def answer(self, sample: Sample) -> Answer | None:
        """Return the prediction for a sample, None if there is none.

        Raises:
            InputError: the line is broken, or a mask does not fit the sample.
        """
        if sample.id not in self._lines:
            return None
        number, raw = self._lines[sample.id]
        line = self._decoded(_LINES, number, raw)
        regions = []
        for segment in line.segments:
            try:
                mask = _mask_of(segment, [(image.height, image.width) for image in sample.images])
            except InvalidMask as fault:
                raise self._fault(number, f"segment '{segment.label}': {fault}") from fault
            kind = kind_of(segment.label, sample)
            regions.append(Region(segment.image, segment.label, kind, mask, score=segment.score))
        seg = seg_of(line.answer, regions, len(sample.images))
        # A reader who trusts such a model on photographs is misled by its scores.
        note = ", model trained on synthetic images" * line.trained_on_synthetic_images
        title = f"Prediction ({self.path.name}{note})"
        return Answer(title, line.answer, tuple(regions), seg)

    def _decoded(self, decoder: msgspec.json.Decoder[_T], number: int, raw: bytes) -> _T:
        try:
            return decoder.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            text = str(error) or "it is nested too deeply"
            raise self._fault(number, f"{text}{literal_note(raw)}") from error

    def _fault(self, number: int, text: str) -> InputError:
        return InputError(f"{_SUBJECT} {self.path}, line {number}: {text}", _HINT)


def _mask_of(segment: _Segment, sizes: Sequence[tuple[int, int]]) -> Rle:
    """Return the mask of a segment, checked against the sizes (h, w) of the sample's images.

    Raises:
        InvalidMask: it does not fit its image, or there is no such image.
    """
    if not 0 <= segment.image < len(sizes):
        raise InvalidMask(f"there is no image {segment.image}, counted from 0")
    height, width = segment.mask.size
    if (height, width) != sizes[segment.image]:
        right = " x ".join(map(str, sizes[segment.image]))
        raise InvalidMask(f"its mask is {height} x {width} (h x w), the image is {right}")
    counts = segment.mask.counts
    if isinstance(counts, list):
        return masks.from_counts(counts, height, width)
    return masks.from_string(counts, height, width)


def kind_of(label: str, sample: Sample) -> Kind:
    """Return what a label names in a sample: a class of its objects, or a part."""
    truth = sample.answers[0].regions
    if any(region.label == label and region.kind is Kind.OBJECT for region in truth):
        return Kind.OBJECT
    # Samples of this task have no parts, so that everything that is named is an object.
    if all(region.kind is Kind.OBJECT for region in truth):
        return Kind.OBJECT
    kinds = {region.kind for region in truth if region.label == label}
    return kinds.pop() if len(kinds) == 1 else Kind.PART


def seg_of(text: str, regions: Sequence[Region], images: int) -> tuple[int, ...]:
    """Return the region that each `[SEG]` of an answer means, -1 for one that was not drawn.

    Args:
        text: an answer of a model.
        regions: its masks in the order of generation.
        images: number of images of the sample.

    Returns:
        Positions in `regions`, one for each `[SEG]` of the text.
    """
    free = list(range(len(regions)))
    seg = []
    for phrase in parse_answer(text, images).phrases:
        for image in phrase.images:
            fits = [
                number
                for number in free
                if regions[number].image == image
                and label_of(regions[number].label) == phrase.label
            ]
            seg.append(fits[0] if fits else -1)
            if fits:
                free.remove(fits[0])
    return tuple(seg)
