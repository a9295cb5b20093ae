"""The predictions file: JSON lines, with which programs exchange predictions.

One line (`calico.predictions.jsonl`) a sample; the file may be compressed by gzip.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, cast

from calico.predictions.jsonl import decode_line, encode_line, prediction_of
from calico.predictions.types import InvalidPrediction, Prediction, Sizes
from mixedparts.errors import EnvironmentFault, InputError
from mixedparts.files.foreign import GZIP, HEAD, UTF8_MARK, not_utf8
from mixedparts.files.opening import open_file
from mixedparts.files.text import numbered_lines
from mixedparts.storage.shards import written_beside

_SHOWN = 5  # faults that an error message lists
_SUBJECT = "the predictions file"
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
        raise InputError(f"{_SUBJECT} {path} is empty: there is no line in it")
    return predictions


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, with their numbers from 1.

    Raises:
        InputError: the file cannot be read, or is not lines of text in UTF-8.
    """
    # EOFError and zlib.error come from a gzip file that was cut off or damaged.
    try:
        with open_file(path, _SUBJECT) as file:
            yield from numbered_lines(_checked(path, file))
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{_SUBJECT} {path} cannot be read: {reason}") from error


def _checked(path: Path, file: BinaryIO) -> BinaryIO:
    """Return the content of an open file, unpacked, if it begins like JSON lines.

    Raises:
        InputError: it is not text in UTF-8, or one JSON list; the message says how to convert it.
    """
    head, name = _head(file), path
    # By content and not by suffix: a compressed file may have any name.
    if head.startswith(GZIP):
        file = cast(BinaryIO, gzip.GzipFile(fileobj=file))
        head, name = _head(file), path.with_suffix("") if path.suffix == ".gz" else path
    clause = not_utf8(head, str(name))
    if clause is not None:
        unpacked = ", unpacked," if isinstance(file, gzip.GzipFile) else ""
        raise InputError(f"{_SUBJECT} {path}{unpacked} {clause}")
    if head.removeprefix(UTF8_MARK).lstrip().startswith(b"["):
        raise InputError(
            f"{_SUBJECT} {path} begins with a list; it must have one JSON object a line",
            f"Type: jq -c '.[]' {path} > predictions.jsonl",
        )
    return file


def _head(file: BinaryIO) -> bytes:
    head = file.read(HEAD)
    file.seek(0)
    return head


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> int:
    """Write a predictions file and return the number of its lines.

    The file is written under a temporary name and renamed: under its name it is complete.

    Raises:
        EnvironmentFault: the file cannot be written.
    """
    count = 0
    try:
        # Not flushed to disk: the same command writes it again.
        with written_beside(path, flush=False) as temporary, temporary.open("wb") as file:
            for prediction in predictions:
                file.write(encode_line(prediction))
                count += 1
    except OSError as error:
        raise EnvironmentFault(
            f"the predictions file {path} cannot be written: {error.strerror or error}"
        ) from error
    return count
