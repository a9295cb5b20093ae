"""Batch inference over many sets of images: one folder an answer, unusable sets reported.

A run can be interrupted and continued: a set is answered again only if its answer is missing, or
belongs to another question or other images. Sets are always computed in the same groups, because
rounding depends on what is computed together, and a continued run must give the same bytes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calico.inference.answer import VisualAnswer, read_answer
from calico.inference.image_sets import ImageSet, Unusable
from calico.inference.open_sets import Group, GroupOpener
from calico.inference.predictor import Predictor
from calico.processing.workers import lost_workers_reported
from mixedparts.errors import EnvironmentFault, UsageError
from mixedparts.files.opening import is_there
from mixedparts.files.text import read_own_json
from mixedparts.progress import Progress
from mixedparts.storage.leftovers import remove_leftovers
from mixedparts.storage.shards import written_beside
from mixedparts.storage.writer_lock import writing

ANSWERS, PREDICTIONS, REJECTS, RUN = "answers", "predictions.jsonl", "rejects.jsonl", "run.json"


@dataclass(frozen=True, slots=True)
class BatchReport:
    """Numbers of answered sets, and the rejected ones.

    Attributes:
        answered: sets answered in this run.
        answered_before: sets answered by an earlier run.
        rejected: sets that could not be asked or answered, in order.
    """

    answered: int
    answered_before: int
    rejected: tuple[Unusable, ...]


def predict_sets(
    predictor: Predictor,
    sets: Sequence[ImageSet | Unusable],
    out: Path,
    origin: Mapping[str, Any],
    batch_size: int,
    progress: Progress,
) -> BatchReport:
    """Answer all sets; write answers/ID/, predictions.jsonl, rejects.jsonl and run.json.

    Args:
        predictor: answers.
        sets: in the order of predictions.jsonl; ids are unique.
        out: folder of this run, or of an earlier one that it continues.
        origin: JSON values that decide the answers besides the sets; stored in run.json.
        batch_size: sets that are computed together.
        progress: counts sets.

    Returns:
        Numbers of answered sets, and the rejected ones.

    Raises:
        UsageError: the folder holds answers of another origin.
        EnvironmentFault: the folder cannot be written, or another process writes to it.
    """
    with writing(out, progress.log):
        _begin(out, {**origin, "batch_size": batch_size})
        answered = answered_before = 0
        rejected: list[Unusable] = []
        progress.start("answering", len(sets), "sets")
        groups = [sets[start : start + batch_size] for start in range(0, len(sets), batch_size)]
        opener = GroupOpener(predictor, out / ANSWERS)
        images = batch_size * predictor.config.prompt.max_images
        with lost_workers_reported():
            for group in predictor.ahead(opener.open, groups, images):
                for each in group.rejected:
                    rejected.append(each)
                    progress.log(f"rejected {each.id}: {each.reason}")
                if group.unanswered:
                    _answer(predictor, group, out)
                answered += len(group.unanswered)
                answered_before += group.answered
                progress.advance(group.size)
        progress.finish()
        # From the answers' folders, not from memory: the file also has the answers of earlier runs.
        _write_lines(out / PREDICTIONS, _lines(out, sets, {each.id for each in rejected}))
        _write_lines(out / REJECTS, ({"id": each.id, "reason": each.reason} for each in rejected))
        return BatchReport(answered, answered_before, tuple(rejected))


def _begin(out: Path, origin: Mapping[str, Any]) -> None:
    """Create the folder, or check that it belongs to a run of the same origin.

    Raises:
        UsageError: it belongs to another one.
    """
    remove_leftovers(out, RUN)
    if not is_there(out / RUN):
        (out / ANSWERS).mkdir(parents=True, exist_ok=True)
        _write_lines(out / RUN, [origin])
        return
    recorded = read_own_json(out / RUN)
    if not isinstance(recorded, dict):
        raise UsageError(
            f"{out / RUN} is not from a run of calico-predict --pairs", "Choose another --out."
        )
    keys = {*recorded, *origin}
    different = sorted(key for key in keys if recorded.get(key) != origin.get(key))
    if different:
        raise UsageError(
            f"{out} contains answers of another run: {', '.join(different)} differ",
            "Choose another --out, or remove that folder.",
        )
    # Of a run that was killed.
    for folder in (out, out / ANSWERS):
        remove_leftovers(folder)


def _answer(predictor: Predictor, group: Group, out: Path) -> None:
    """Compute a whole group and save the answers that are missing."""
    opened = group.opened
    predictions = predictor.predict([each.query for each in opened], len(opened))
    for each, prediction in zip(opened, predictions, strict=True):
        if prediction.id in group.unanswered:
            answer = VisualAnswer(prediction, each.query.question, each.query.images)
            _save(out / ANSWERS / each.asked.folder, answer, each.metadata)


def _save(place: Path, answer: VisualAnswer, metadata: Mapping[str, Any]) -> None:
    """Write an answer's folder under a temporary name, then rename it."""
    temporary = place.with_name(f".{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        answer.save(temporary, metadata)
        # A folder cannot replace another one in one step; a kill in between costs one answer.
        if place.exists():
            shutil.rmtree(place)
        temporary.rename(place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _lines(
    out: Path, sets: Sequence[ImageSet | Unusable], rejected: set[str]
) -> Iterator[Mapping[str, Any]]:
    """Yield the answers in the order of the sets, as lines of a predictions file."""
    for each in sets:
        if isinstance(each, ImageSet) and each.id not in rejected:
            yield read_answer(out / ANSWERS / each.folder) or {}


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON lines under a temporary name, then rename the file.

    Raises:
        EnvironmentFault: the file cannot be written.
    """
    try:
        # Not flushed to disk: after a power failure the same command writes the file again.
        with (
            written_beside(path, flush=False) as temporary,
            temporary.open("w", encoding="utf-8") as file,
        ):
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    except OSError as error:
        raise EnvironmentFault(f"{path} cannot be written: {error.strerror or error}") from error
