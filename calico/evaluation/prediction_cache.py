"""Prediction cache: answers of a long evaluation on disk, so that it can be interrupted.

They are in `.FILE.part` beside the file that they become: a first line with their origin, then
lines of a predictions file. A line that a kill cut short is answered again, and so is the rest of
its batch: rounding depends on what is computed together, and a resumed evaluation must give the
same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from calico.evaluation.ground_truth import SampleGroundTruth
from calico.predictions.jsonl import decode_line, encode_line, prediction_of
from calico.predictions.types import InvalidPrediction, Prediction
from mixedparts.errors import EnvironmentFault, UsageError
from mixedparts.files.opening import open_regular
from mixedparts.files.text import parse_json
from mixedparts.settings.local_paths import typed

_ORIGIN = "answers_of"


def unfinished_part(path: Path) -> Path:
    """Return the path of the answers of a predictions file until it is complete."""
    return path.with_name(f".{path.name}.part")


class PredictionCache:
    """The unfinished part of a predictions file.

    Args:
        path: the file that it will become.
        origin: plain JSON values that decide the answers, such as the checkpoint's digest.
        batch_size: samples that are computed together.
    """

    def __init__(self, path: Path, origin: Mapping[str, Any], batch_size: int) -> None:
        self.path = path
        self.part = unfinished_part(path)
        self._origin = {**origin, "batch_size": batch_size}
        self._batch_size = batch_size

    def begin(self, samples: Sequence[SampleGroundTruth]) -> list[Prediction]:
        """Return the answers of an interrupted evaluation: whole batches from the first sample on.

        Args:
            samples: in the order in which they are answered.

        Raises:
            UsageError: the cached answers are of another origin.
            EnvironmentFault: the part cannot be read or written.
        """
        try:
            self.part.parent.mkdir(parents=True, exist_ok=True)
            lines = self._lines()
            cached = self._usable(lines, samples)
            # Rewritten without the lines that are not used: `add` appends after the last one.
            head = json.dumps({_ORIGIN: self._origin}).encode() + b"\n"
            self.part.write_bytes(head + b"".join(lines[1 : 1 + len(cached)]))
        except OSError as error:
            raise self._fault(error) from error
        return cached

    def add(self, prediction: Prediction) -> None:
        """Append an answer.

        Raises:
            EnvironmentFault: it cannot be written.
        """
        # Opened for each answer, so that it is written when this returns, whatever comes next.
        try:
            with self.part.open("ab") as file:
                file.write(encode_line(prediction))
        except OSError as error:
            raise self._fault(error) from error

    def _lines(self) -> list[bytes]:
        """Return the lines of the part; none where there is no part.

        Raises:
            OSError: it cannot be read.
        """
        try:
            with open_regular(self.part) as file:
                return file.readlines()
        except FileNotFoundError:
            return []

    def _usable(
        self, lines: Sequence[bytes], samples: Sequence[SampleGroundTruth]
    ) -> list[Prediction]:
        """Return the answers of whole batches from the first sample on."""
        if not lines or not lines[0].endswith(b"\n"):
            return []
        self._compare(lines[0])
        usable: list[Prediction] = []
        for raw, sample in zip(lines[1:], samples, strict=False):
            try:
                line = decode_line(raw)
                # A line without its newline was cut short, even if what is there is valid.
                if line.id != sample.id or not raw.endswith(b"\n"):
                    break
                usable.append(prediction_of(line, sample.sizes))
            except InvalidPrediction:
                break
        # The last batch may be smaller than the others; it is whole if all samples are there.
        complete = len(usable) == len(samples)
        return usable if complete else usable[: len(usable) // self._batch_size * self._batch_size]

    def _compare(self, head: bytes) -> None:
        """Check that the cached answers have the same origin.

        Raises:
            UsageError: they have another one, or the first line is broken.
        """
        try:
            recorded = parse_json(head.decode())[_ORIGIN]
            keys = {*recorded, *self._origin}
            differ = sorted(key for key in keys if recorded.get(key) != self._origin.get(key))
        except (ValueError, KeyError, TypeError, AttributeError):
            differ = ["its first line"]
        if differ:
            raise UsageError(
                f"{self.part} contains answers of another evaluation: {', '.join(differ)} differ",
                f"Type: rm {typed(self.part)}   or give another --save-predictions.",
            )

    def _fault(self, error: OSError) -> EnvironmentFault:
        return EnvironmentFault(
            f"answers cannot be written to {self.part}: {error.strerror or error}"
        )
