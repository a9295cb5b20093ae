"""The JSON-lines file that carries predictions between programs.

One UTF-8 JSON object a line, one line a sample, the whole compressed by gzip or not:

    {"id": "paco/…", "answer": "One vessel is <p> a teapot </p> [SEG] (IMAGE1) …",
     "segments": [{"label": "teapot", "image": 0,
                   "mask": {"size": [480, 640], "counts": "…"}, "score": 0.93}],
     "untagged": 0}

`segments` has one entry a mask, in the order of generation. `image` counts from 0, `size` is
(height, width) of the original picture, `counts` a COCO compressed string or a list of run
lengths. `score` (1.0) and the counts (`COUNTED`, 0) may be left out; further keys are ignored.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, BinaryIO, cast

import msgspec
from msgspec import UNSET, UnsetType

from calico.predictions import (
    COUNTED,
    InvalidPrediction,
    Prediction,
    Segment,
    Sizes,
    check_place,
    check_prediction,
)
from mixedparts import masks
from mixedparts.errors import EnvironmentFault, InputError
from mixedparts.masks import InvalidMask, Rle

_SHOWN = 5  # faults that an error message lists
_GZIP = b"\x1f\x8b"
_UTF8_MARK = b"\xef\xbb\xbf"  # some editors put it first
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_FORMAT_HINT = (
    "The format is described in docs/evaluation.md; --split and --dataset must be those"
    " that the predictions were made for."
)

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


class Line(msgspec.Struct):
    """One line as it stands, not yet held against the sample that it names."""

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


_DECODER = msgspec.json.Decoder(Line)
_ENCODER = msgspec.json.Encoder()


def read_predictions(
    path: Path, sizes: Mapping[str, Sizes], others: Collection[str] = ()
) -> dict[str, Prediction]:
    """Read a predictions file; it is used as a whole or not at all.

    Args:
        path: the JSON-lines file, compressed by gzip or not, with or without a byte order mark.
        sizes: sample id to the sizes of its images, for the samples to be scored.
        others: ids of further samples of the split; their lines are passed over.

    Returns:
        Sample id to prediction, in the order of the file. Samples without a line are absent.

    Raises:
        InputError: the file cannot be read, is empty, or holds lines that cannot be used. A score
            made from the rest would look like one of the whole file, so nothing is dropped; the
            message counts the bad lines and shows the first ones with their numbers.
    """
    found: dict[str, Prediction] = {}
    first_line: dict[str, int] = {}
    faults: list[str] = []
    lines = bad = 0
    for number, raw in _lines(path):
        lines += 1
        try:
            line = decode_line(raw)
            if line.id in first_line:
                earlier = first_line[line.id]
                raise InvalidPrediction(f"id '{line.id}' stands in line {earlier} already")
            first_line[line.id] = number
            if line.id in sizes:
                found[line.id] = prediction_of(line, sizes[line.id])
            elif line.id not in others:
                raise InvalidPrediction(f"id '{line.id}' is no sample of this split")
        except InvalidPrediction as error:
            bad += 1
            if bad <= _SHOWN:
                faults.append(f"  line {number}: {error}")
    if faults:
        said = [f"{path}: {bad} of {lines} lines cannot be used, nothing was scored", *faults]
        if bad > _SHOWN:
            said.append(f"  … and {bad - _SHOWN} more")
        raise InputError("\n".join(said), _FORMAT_HINT)
    if not lines:
        raise InputError(f"the predictions file {path} is empty: there is no line in it")
    return found


def decode_line(raw: bytes) -> Line:
    """Read one line as it stands.

    Raises:
        InvalidPrediction: it is no JSON object with the keys that it needs.
    """
    try:
        return _DECODER.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidPrediction(str(error)) from error
    except RecursionError:
        raise InvalidPrediction("it is nested too deeply") from None


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a predictions file that hold something, with their numbers from 1."""
    try:
        with _opened(path) as file:
            for number, raw in enumerate(file, 1):
                if number == 1:
                    raw = _first_line(path, raw)
                if raw.strip():
                    yield number, raw
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"the predictions file {path} cannot be read: {reason}") from error


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP
        file.seek(0)
        yield cast(BinaryIO, gzip.GzipFile(fileobj=file)) if packed else file


def _first_line(path: Path, raw: bytes) -> bytes:
    """Return the first line without a byte order mark; refuse what cannot be JSON lines."""
    if raw.startswith(_UTF16_MARKS):
        raise InputError(
            f"the predictions file {path} is text in UTF-16, not in UTF-8",
            f"Type: iconv -f UTF-16 -t UTF-8 {path} > predictions.jsonl",
        )
    raw = raw.removeprefix(_UTF8_MARK)
    if raw.lstrip().startswith(b"["):
        raise InputError(
            f"the predictions file {path} begins with a list; it must have one JSON object a line",
            f"Type: jq -c '.[]' {path} > predictions.jsonl",
        )
    return raw


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> int:
    """Write a predictions file beside its place, then put it there; return the number of lines.

    Raises:
        EnvironmentFault: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    count = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            for prediction in predictions:
                file.write(encode_line(prediction))
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


def encode_line(prediction: Prediction, further: Mapping[str, object] | None = None) -> bytes:
    """Return a prediction as a line with its end; `further` keys stand behind those of the format.

    Readers pass over `further`: it tells people where a prediction comes from.
    """
    line = _to_line(prediction)
    if not further:
        return _ENCODER.encode(line) + b"\n"
    return _ENCODER.encode({**msgspec.to_builtins(line), **further}) + b"\n"


def prediction_of(line: Line, sizes: Sizes) -> Prediction:
    """Return what a line says about a sample whose images have these sizes.

    Raises:
        InvalidPrediction: a segment that cannot belong to the sample.
    """
    for position, item in enumerate(line.segments):
        # The size is compared before the runs are read: a wrong one never makes a large array.
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
    )
    check_prediction(prediction, sizes)
    return prediction


def _where(position: int, item: _SegmentLine) -> str:
    return f"segment {position} ('{item.label}')"


def _masks(items: Sequence[_SegmentLine]) -> list[Rle]:
    """Return the masks of a line's segments; strings of one size are read at once.

    Raises:
        InvalidPrediction: one of them is no mask.
    """
    found: list[Rle | InvalidMask | None] = [None] * len(items)
    together: dict[tuple[int, int], list[int]] = {}
    for position, item in enumerate(items):
        if isinstance(item.mask.counts, str):
            together.setdefault(item.mask.size, []).append(position)
            continue
        try:
            found[position] = masks.from_counts(item.mask.counts, *item.mask.size)
        except InvalidMask as error:
            found[position] = error
    for size, positions in together.items():
        strings = [str(items[position].mask.counts) for position in positions]
        for position, read in zip(positions, masks.from_strings(strings, *size), strict=True):
            found[position] = read if isinstance(read, InvalidMask) else read[0]
    for position, one in enumerate(found):
        if isinstance(one, InvalidMask):
            raise InvalidPrediction(f"{_where(position, items[position])}: {one}") from one
    return [one for one in found if isinstance(one, Rle)]


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
        **{name: getattr(prediction, name) or UNSET for name in COUNTED if name != "untagged"},
    )
