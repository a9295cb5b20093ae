"""The predictions file: JSON lines, with which programs exchange predictions.

One line (`calico.predictions.jsonl`) a sample; the file may be compressed by gzip.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from calico.predictions.jsonl import decode_line, encode_line, prediction_of
from calico.predictions.types import InvalidPrediction, Prediction, Sizes
from mixedparts.errors import EnvironmentFault, InputError

_SHOWN = 5  # faults that an error message lists
_GZIP = b"\x1f\x8b"
_UTF8_MARK = b"\xef\xbb\xbf"  # byte order mark, which some editors write
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_FORMAT_HINT = (
    "The format is described in docs/evaluation.md; --split and --dataset must be those"
    " that the predictions were made for."
)


def read_predictions(
    path: Path, sizes: Mapping[str, Sizes], others: Collection[str] = ()
) -> dict[str, Prediction]:
    """Read a predictions file; one invalid line makes the whole file invalid.

    Args:
        path: JSON lines, compressed by gzip or not, with or without a byte order mark.
        sizes: sample id to the sizes of its images, for the samples to be scored.
        others: ids of further samples of the split; their lines are skipped.

    Returns:
        Sample id to prediction, in the order of the file. Samples without a line are absent.

    Raises:
        InputError: the file cannot be read, is empty, or contains invalid lines; the message
            counts them and shows the first ones with their numbers.
    """
    # No invalid line is skipped: a score of the rest would look like a score of the whole file.
    predictions: dict[str, Prediction] = {}
    first_line: dict[str, int] = {}
    faults: list[str] = []
    lines = bad = 0
    for number, raw in _lines(path):
        lines += 1
        try:
            line = decode_line(raw)
            if line.id in first_line:
                earlier = first_line[line.id]
                raise InvalidPrediction(f"id '{line.id}' is already in line {earlier}")
            first_line[line.id] = number
            # Lines of samples that are not scored (--limit) are not decoded: masks take long.
            if line.id in sizes:
                predictions[line.id] = prediction_of(line, sizes[line.id])
            elif line.id not in others:
                raise InvalidPrediction(f"id '{line.id}' is not a sample of this split")
        except InvalidPrediction as error:
            bad += 1
            if bad <= _SHOWN:
                faults.append(f"  line {number}: {error}")
    if faults:
        message = [f"{path}: {bad} of {lines} lines cannot be used, nothing was scored", *faults]
        if bad > _SHOWN:
            message.append(f"  … and {bad - _SHOWN} more")
        raise InputError("\n".join(message), _FORMAT_HINT)
    if not lines:
        raise InputError(f"the predictions file {path} is empty: there is no line in it")
    return predictions


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, with their numbers from 1.

    Raises:
        InputError: the file cannot be read.
    """
    # EOFError and zlib.error come from a gzip file that was cut off or damaged.
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
    # By content and not by suffix: a compressed file may have any name.
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP
        file.seek(0)
        yield cast(BinaryIO, gzip.GzipFile(fileobj=file)) if packed else file


def _first_line(path: Path, raw: bytes) -> bytes:
    """Return the first line without a byte order mark.

    Raises:
        InputError: the file is in UTF-16, or one JSON list; the message says how to convert it.
    """
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
    """Write a predictions file and return the number of its lines.

    The file is written under a temporary name and renamed: under its name it is complete.

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
        # There is nothing to remove if the folder could not be created.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return count
