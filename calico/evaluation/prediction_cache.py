"""Predictions of a long evaluation, kept as they come, so that an interrupted one goes on.

They stand in `.FILE.part` beside the file that they become: a line that says what they are answers
of, then lines of a predictions file. A line that a kill cut short is answered again, and so is the
rest of its batch: rounding depends on what is computed together, and a resumed evaluation must give
the same bytes.
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

_ORIGIN = "answers_of"


def unfinished_part(path: Path) -> Path:
    """Return where the answers of a predictions file stand until it is whole."""
    return path.with_name(f".{path.name}.part")


class PredictionCache:
    """The unfinished part of a predictions file.

    Args:
        path: the file that it will become.
        origin: what decides the answers, as plain JSON values.
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
            UsageError: the kept answers are of something else.
            EnvironmentFault: the part cannot be read or written.
        """
        try:
            self.part.parent.mkdir(parents=True, exist_ok=True)
            lines = self.part.read_bytes().splitlines(keepends=True) if self.part.exists() else []
            kept = self._usable(lines, samples)
            head = json.dumps({_ORIGIN: self._origin}).encode() + b"\n"
            self.part.write_bytes(head + b"".join(lines[1 : 1 + len(kept)]))
        except OSError as error:
            raise self._fault(error) from error
        return kept

    def add(self, prediction: Prediction) -> None:
        """Keep one more answer; it survives the end of this process.

        Raises:
            EnvironmentFault: it cannot be written.
        """
        try:
            with self.part.open("ab") as file:
                file.write(encode_line(prediction))
        except OSError as error:
            raise self._fault(error) from error

    def _usable(
        self, lines: Sequence[bytes], samples: Sequence[SampleGroundTruth]
    ) -> list[Prediction]:
        if not lines or not lines[0].endswith(b"\n"):
            return []
        self._compare(lines[0])
        kept: list[Prediction] = []
        for raw, sample in zip(lines[1:], samples, strict=False):
            try:
                line = decode_line(raw)
                if line.id != sample.id or not raw.endswith(b"\n"):
                    break
                kept.append(prediction_of(line, sample.sizes))
            except InvalidPrediction:
                break
        whole = len(kept) == len(samples)
        return kept if whole else kept[: len(kept) // self._batch_size * self._batch_size]

    def _compare(self, head: bytes) -> None:
        """Prove that the kept answers are of what is asked now."""
        try:
            known = json.loads(head)[_ORIGIN]
            differ = sorted(
                key for key in {*known, *self._origin} if known.get(key) != self._origin.get(key)
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            differ = ["its first line"]
        if differ:
            raise UsageError(
                f"{self.part} keeps answers of another evaluation: {', '.join(differ)} differ",
                f"Type: rm {self.part}   or give another --save-predictions.",
            )

    def _fault(self, error: OSError) -> EnvironmentFault:
        return EnvironmentFault(f"answers cannot be kept in {self.part}: {error.strerror or error}")
