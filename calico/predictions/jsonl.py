"""One line of a predictions file: its format, decoding and encoding.

A UTF-8 JSON object, shown here on several lines:

    {"id": "paco/…", "answer": "One vessel is <p> a teapot </p> [SEG] (IMAGE1) …",
     "segments": [{"label": "teapot", "image": 0,
                   "mask": {"size": [480, 640], "counts": "…"}, "score": 0.93}],
     "untagged": 0}

`segments` has one entry a mask, in the order of generation. `image` counts from 0, `size` is
(height, width) of the original image, `counts` a COCO compressed string or a list of run
lengths. `score` (default 1.0), the counts of `COUNTED` (default 0) and
`trained_on_synthetic_images` (default false) are optional; further keys are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from calico.predictions.types import (
    COUNTED,
    InvalidPrediction,
    Prediction,
    Segment,
    Sizes,
    check_place,
    check_prediction,
)
from mixedparts import masks
from mixedparts.files.text import literal_note
from mixedparts.masks import InvalidMask, Rle

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Odd = _Count | UnsetType  # written only if it is not 0


class _MaskLine(msgspec.Struct):
    size: tuple[int, int]
    counts: str | list[int]


class _SegmentLine(msgspec.Struct):
    label: str
    image: int
    mask: _MaskLine
    score: float = 1.0


class Line(msgspec.Struct):
    """One decoded line, not yet checked against the sample that it names."""

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
    trained_on_synthetic_images: bool | UnsetType = UNSET  # written only if it is true


# Made once: msgspec compiles the check of keys and types for a struct.
_DECODER = msgspec.json.Decoder(Line)
_ENCODER = msgspec.json.Encoder()


def decode_line(raw: bytes) -> Line:
    """Decode one line, without a check against its sample.

    Raises:
        InvalidPrediction: the line is not a JSON object with the required keys and types.
    """
    try:
        return _DECODER.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidPrediction(f"{error}{literal_note(raw)}") from error
    except RecursionError:
        raise InvalidPrediction("it is nested too deeply") from None


def encode_line(prediction: Prediction, further: Mapping[str, object] | None = None) -> bytes:
    """Return a prediction as a line with its newline.

    Args:
        prediction: to write.
        further: keys to add after those of the format; readers ignore them.
    """
    line = _to_line(prediction)
    if not further:
        return _ENCODER.encode(line) + b"\n"
    return _ENCODER.encode({**msgspec.to_builtins(line), **further}) + b"\n"


def prediction_of(line: Line, sizes: Sizes) -> Prediction:
    """Return the prediction of a line, checked against the sizes of its sample's images.

    Raises:
        InvalidPrediction: a segment cannot belong to the sample.
    """
    for position, item in enumerate(line.segments):
        # The size is compared before the runs are read, so a wrong one never allocates a large
        # array.
        check_place(_where(position, item), item.image, item.mask.size, sizes)
    segments = [
        Segment(item.label, item.image, rle, item.score)
        for item, rle in zip(line.segments, _masks(line.segments), strict=True)
    ]
    prediction = Prediction(
        line.id,
        line.answer,
        tuple(segments),
        **{name: getattr(line, name) or 0 for name in COUNTED},
        synthetic=line.trained_on_synthetic_images is True,
    )
    check_prediction(prediction, sizes)
    return prediction


def _where(position: int, item: _SegmentLine) -> str:
    return f"segment {position} ('{item.label}')"


def _masks(items: Sequence[_SegmentLine]) -> list[Rle]:
    """Return the masks of a line's segments.

    Raises:
        InvalidPrediction: a mask is invalid; of several, the first in the line is reported.
    """
    # Compressed strings of one size are decoded in one call, which is faster than one by one; the
    # results go back to the places of their segments.
    decoded: list[Rle | InvalidMask | None] = [None] * len(items)
    together: dict[tuple[int, int], list[int]] = {}
    for position, item in enumerate(items):
        if isinstance(item.mask.counts, str):
            together.setdefault(item.mask.size, []).append(position)
            continue
        try:
            decoded[position] = masks.from_counts(item.mask.counts, *item.mask.size)
        except InvalidMask as error:
            decoded[position] = error
    for size, positions in together.items():
        strings = [str(items[position].mask.counts) for position in positions]
        for position, read in zip(positions, masks.from_strings(strings, *size), strict=True):
            decoded[position] = read if isinstance(read, InvalidMask) else read[0]
    for position, mask in enumerate(decoded):
        if isinstance(mask, InvalidMask):
            raise InvalidPrediction(f"{_where(position, items[position])}: {mask}") from mask
    return [mask for mask in decoded if isinstance(mask, Rle)]


def _to_line(prediction: Prediction) -> Line:
    return Line(
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
        # A line always has `untagged`; the other counts are left out where they are 0.
        **{name: getattr(prediction, name) or UNSET for name in COUNTED if name != "untagged"},
        trained_on_synthetic_images=prediction.synthetic or UNSET,
    )
