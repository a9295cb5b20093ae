"""The predictions file: JSON lines, with which programs exchange predictions.

One line (`calico.predictions.jsonl`) a sample; the file may be compressed by gzip.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from calico.predictions.jsonl import decode_line, encode_line, prediction_of
from calico.predictions.types import InvalidPrediction, Prediction, Sizes
from mixedparts.errors import EnvironmentFault, InputError
from mixedparts.files.packed_lines import packed_lines
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
    for number, raw in packed_lines(path, _SUBJECT, "predictions.jsonl"):
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
