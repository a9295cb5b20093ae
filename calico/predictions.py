"""What a model says about a sample, and the JSON-lines file that carries it between programs.

One UTF-8 JSON object a line, one line a sample:

    {"id": "paco/…", "answer": "One vessel is <p> a teapot </p> [SEG] (IMAGE1) …",
     "segments": [{"label": "teapot", "image": 0,
                   "mask": {"size": [480, 640], "counts": "…"}, "score": 0.93}],
     "untagged": 0}

`segments` has one entry a mask, in the order of generation. `image` counts from 0, `size` is
(height, width) of the original picture, `counts` a COCO compressed string or a list of run
lengths. `score` (1.0) and the counts (`COUNTED`, 0) may be left out; further keys are ignored.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from mixedparts import masks
from mixedparts.errors import EnvironmentFault, InputError
from mixedparts.masks import InvalidMask, Rle

_SHOWN = 5  # faults that an error message lists

Sizes = Sequence[tuple[int, int]]
"""(height, width) in pixels of each image of a sample."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One grounded mask: what one `[SEG]` stands for.

    Attributes:
        label: the noun phrase that it belongs to, without article.
        image: which image of the sample, from 0.
        mask: foreground of the image in its original size.
        score: the model's confidence; only the `scored` variant of AP50 reads it.
    """

    label: str
    image: int
    mask: Rle
    score: float = 1.0


@dataclass(frozen=True, slots=True)
class Prediction:
    """A model's answer to one sample.

    Attributes:
        id: the sample's id.
        answer: generated text, as it came.
        segments: one a mask, in the order of generation.
        untagged: how many `[SEG]` named no image and were bound to the first.
        unknown_image: how many named an image that there is not; not drawn.
        malformed_tag: how many were followed by a tag that cannot be read; not drawn.
        unnamed: how many had no phrase before them; drawn without a label.
        spelled: how many stood as plain text instead of the token; not drawn.
        over_limit: how many exceeded the number of masks of an answer; not drawn.
        unfinished: 1 where the answer reached the limit of tokens, else 0.
    """

    id: str
    answer: str
    segments: tuple[Segment, ...]
    untagged: int = 0
    unknown_image: int = 0
    malformed_tag: int = 0
    unnamed: int = 0
    spelled: int = 0
    over_limit: int = 0
    unfinished: int = 0


# What may be wrong with an answer, each with the words that a report uses for it.
COUNTED = {
    "untagged": "[SEG] named no image (read on the first unless prompt.untagged is drop)",
    "unknown_image": "[SEG] named an image that there is not and were not drawn",
    "malformed_tag": "[SEG] had a tag that cannot be read and were not drawn",
    "unnamed": "[SEG] followed no phrase and have no label",
    "spelled": "[SEG] were written as plain text and not drawn",
    "over_limit": "[SEG] exceeded generation.max_masks and were not drawn",
    "unfinished": "answers reached generation.max_new_tokens before they ended",
}


class InvalidPrediction(ValueError):
    """A prediction that cannot belong to its sample."""


_Count = Annotated[int, msgspec.Meta(ge=0)]
_Odd = _Count | UnsetType  # written only where there is something to count


class _MaskLine(msgspec.Struct):
    size: tuple[int, int]
    counts: str | list[int]


class _SegmentLine(msgspec.Struct):
    label: str
    image: int
    mask: _MaskLine
    score: float = 1.0


class _Line(msgspec.Struct):
    id: str
    answer: str
    segments: list[_SegmentLine]
    untagged: _Count = 0
    unknown_image: _Odd = UNSET
    malformed_tag: _Odd = UNSET
    unnamed: _Odd = UNSET
    spelled: _Odd = UNSET
    over_limit: _Odd = UNSET
    unfinished: _Odd = UNSET


def check_prediction(prediction: Prediction, sizes: Sizes) -> None:
    """Prove that every segment lies in one of the sample's images.

    Raises:
        InvalidPrediction: an image number, mask size or score that cannot be.
    """
    for position, segment in enumerate(prediction.segments):
        where = f"segment {position} ('{segment.label}')"
        _check_place(where, segment.image, (segment.mask.height, segment.mask.width), sizes)
        if not math.isfinite(segment.score):
            raise InvalidPrediction(f"{where}: its score is {segment.score}")


def read_predictions(
    path: Path, sizes: Mapping[str, Sizes], others: Collection[str] = ()
) -> dict[str, Prediction]:
    """Read a predictions file; it is used as a whole or not at all.

    Args:
        path: the JSON-lines file.
        sizes: sample id to the sizes of its images, for the samples to be scored.
        others: ids of further samples of the split; their lines are passed over.

    Returns:
        Sample id to prediction, in the order of the file. Samples without a line are absent.

    Raises:
        InputError: the file cannot be read, or holds lines that cannot be used. A score made from
            the rest would look like one of the whole file, so nothing is dropped; the message
            counts the bad lines and shows the first ones with their numbers.
    """
    decoder = msgspec.json.Decoder(_Line)
    found: dict[str, Prediction] = {}
    first_line: dict[str, int] = {}
    faults: list[str] = []
    lines = 0
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                if not raw.strip():
                    continue
                lines += 1
                try:
                    line = decoder.decode(raw)
                    if line.id in first_line:
                        earlier = first_line[line.id]
                        raise InvalidPrediction(f"id '{line.id}' stands in line {earlier} already")
                    first_line[line.id] = number
                    if line.id in sizes:
                        found[line.id] = _from_line(line, sizes[line.id])
                    elif line.id not in others:
                        raise InvalidPrediction(f"id '{line.id}' is no sample of this split")
                except (msgspec.MsgspecError, InvalidPrediction, UnicodeDecodeError) as error:
                    faults.append(f"line {number}: {error}")
    except OSError as error:
        raise InputError(
            f"the predictions file {path} cannot be read: {error.strerror or error}"
        ) from error
    if faults:
        shown = "\n".join(f"  {fault}" for fault in faults[:_SHOWN])
        more = f"\n  … and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise InputError(
            f"{path}: {len(faults)} of {lines} lines cannot be used, nothing was scored\n"
            f"{shown}{more}",
            "The format is described in docs/evaluation.md; --split and --dataset must be those"
            " that the predictions were made for.",
        )
    return found


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> int:
    """Write a predictions file beside its place, then put it there; return the number of lines.

    Raises:
        EnvironmentFault: the file cannot be written.
    """
    encoder = msgspec.json.Encoder()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    count = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            for prediction in predictions:
                file.write(encoder.encode(_to_line(prediction)) + b"\n")
                count += 1
        temporary.replace(path)
    except OSError as error:
        raise EnvironmentFault(
            f"the predictions file {path} cannot be written: {error.strerror or error}"
        ) from error
    finally:
        with suppress(OSError):  # its folder may be what could not be made
            temporary.unlink(missing_ok=True)
    return count


def _check_place(where: str, image: int, size: tuple[int, int], sizes: Sizes) -> None:
    if not 0 <= image < len(sizes):
        raise InvalidPrediction(
            f"{where}: there is no image {image}, the sample has {len(sizes)} (counted from 0)"
        )
    if size != tuple(sizes[image]):
        raise InvalidPrediction(
            f"{where}: its mask is {size[0]} x {size[1]} (h x w), the image is"
            f" {sizes[image][0]} x {sizes[image][1]}"
        )


def _from_line(line: _Line, sizes: Sizes) -> Prediction:
    segments = []
    for position, item in enumerate(line.segments):
        where = f"segment {position} ('{item.label}')"
        height, width = item.mask.size
        # The size is compared before the runs are read: a wrong one never makes a large array.
        _check_place(where, item.image, (height, width), sizes)
        read = masks.from_string if isinstance(item.mask.counts, str) else masks.from_counts
        try:
            rle = read(item.mask.counts, height, width)  # type: ignore[arg-type]
        except InvalidMask as error:
            raise InvalidPrediction(f"{where}: {error}") from error
        segments.append(Segment(item.label, item.image, rle, item.score))
    prediction = Prediction(
        line.id,
        line.answer,
        tuple(segments),
        **{name: getattr(line, name) or 0 for name in COUNTED},
    )
    check_prediction(prediction, sizes)
    return prediction


def _to_line(prediction: Prediction) -> _Line:
    return _Line(
        prediction.id,
        prediction.answer,
        [
            _SegmentLine(
                segment.label,
                segment.image,
                _MaskLine((segment.mask.height, segment.mask.width), segment.mask.counts.decode()),
                segment.score,
            )
            for segment in prediction.segments
        ],
        prediction.untagged,
        **{name: getattr(prediction, name) or UNSET for name in COUNTED if name != "untagged"},
    )
