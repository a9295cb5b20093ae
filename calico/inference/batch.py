"""Answers about many sets of pictures: a folder each, kept as they come, broken ones set aside.

A set is answered again only if its answer is not there or was given to another question or other
pictures, so an interrupted run goes on where it stopped. Sets are computed in fixed groups, however
often a run was interrupted: rounding depends on what is computed together.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calico.inference.answer import VisualAnswer, read_answer, read_picture
from calico.inference.image_sets import ImageSet, Unusable
from calico.inference.predictor import Predictor
from calico.inference.queries import Query, task_question
from calico.processing.images import open_picture
from mixedparts.errors import EnvironmentFault, InputError, UsageError
from mixedparts.progress import Progress
from mixedparts.storage.shards import written_beside

ANSWERS, PREDICTIONS, REJECTS, RUN = "answers", "predictions.jsonl", "rejects.jsonl", "run.json"


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What became of the sets.

    Attributes:
        answered: in this run.
        kept: answered by an earlier run.
        rejected: what could not be asked or answered, in order.
    """

    answered: int
    kept: int
    rejected: tuple[Unusable, ...]


@dataclass(frozen=True, slots=True)
class _Read:
    """A set whose files are read; an answer with the same `facts` and question is its answer."""

    asked: ImageSet
    question: str
    contents: tuple[bytes, ...]
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Opened:
    """A set with its pictures."""

    read: _Read
    query: Query


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
        out: folder of this run, or of one that it goes on with.
        origin: what besides the sets decides the answers; kept in run.json.
        batch_size: sets that are computed together.
        progress: counts sets.

    Raises:
        UsageError: the folder holds answers of another origin.
        EnvironmentFault: it cannot be written.
    """
    _begin(out, {**origin, "batch_size": batch_size})
    answered = kept = 0
    rejected: list[Unusable] = []
    progress.start("answering", len(sets), "sets")
    for start in range(0, len(sets), batch_size):
        read = [_read(one, predictor) for one in sets[start : start + batch_size]]
        group = [one if _is_answered(out, one) else _opened(one) for one in read]
        for one in group:
            if isinstance(one, Unusable):
                rejected.append(one)
                progress.log(f"rejected {one.id}: {one.reason}")
        kept += sum(isinstance(one, _Read) for one in group)
        fresh = {one.query.id for one in group if isinstance(one, _Opened)}
        if fresh:
            _answer(predictor, group, fresh, out)
            answered += len(fresh)
        progress.advance(len(group))
    progress.finish()
    _write_lines(out / PREDICTIONS, _lines(out, sets, {one.id for one in rejected}))
    _write_lines(out / REJECTS, ({"id": one.id, "reason": one.reason} for one in rejected))
    return BatchReport(answered, kept, tuple(rejected))


def _begin(out: Path, origin: Mapping[str, Any]) -> None:
    """Make the folder, or prove that it belongs to a run like this one."""
    try:
        known = json.loads((out / RUN).read_bytes())
    except FileNotFoundError:
        (out / ANSWERS).mkdir(parents=True, exist_ok=True)
        _write_lines(out / RUN, [origin])
        return
    except ValueError:
        known = None
    if not isinstance(known, dict):
        raise UsageError(f"{out / RUN} is not of a run of answers", "Choose another --out.")
    different = sorted(key for key in {*known, *origin} if known.get(key) != origin.get(key))
    if different:
        raise UsageError(
            f"{out} holds answers of another run: {', '.join(different)} differ",
            "Choose another --out, or remove that folder.",
        )
    for leftover in (out / ANSWERS).glob(".*.tmp"):  # of a killed run
        shutil.rmtree(leftover)


def _read(one: ImageSet | Unusable, predictor: Predictor) -> _Read | Unusable:
    """Read the files of a set, without decoding them."""
    if isinstance(one, Unusable):
        return one
    most = predictor.config.prompt.max_images
    if len(one.images) > most:
        return Unusable(one.id, f"it has {len(one.images)} pictures, the model takes up to {most}")
    try:
        contents = tuple(read_picture(path) for path in one.images)
    except InputError as error:
        return Unusable(one.id, error.message)
    facts = {
        "images": [str(path) for path in one.images],
        "sha256": [hashlib.sha256(data).hexdigest() for data in contents],
        "task": str(one.task),
    }
    question = one.question or task_question(one.task, len(contents))
    return _Read(one, question, contents, facts)


def _is_answered(out: Path, read: _Read | Unusable) -> bool:
    if isinstance(read, Unusable):
        return False
    found = read_answer(out / ANSWERS / read.asked.folder) or {}
    wanted = {**read.facts, "id": read.asked.id, "question": read.question}
    return all(found.get(key) == value for key, value in wanted.items())


def _opened(read: _Read | Unusable) -> _Opened | Unusable:
    """Decode the pictures of a set."""
    if isinstance(read, Unusable):
        return read
    named = zip(read.contents, read.asked.images, strict=True)
    try:
        pictures = tuple(open_picture(data, str(path)) for data, path in named)
    except InputError as error:
        return Unusable(read.asked.id, error.message)
    return _Opened(read, Query(read.asked.id, read.question, pictures))


def _answer(
    predictor: Predictor,
    group: Sequence[_Read | _Opened | Unusable],
    fresh: set[str],
    out: Path,
) -> None:
    """Compute a whole group and keep the answers that are not there yet."""
    opened = [_opened(one) if isinstance(one, _Read) else one for one in group]
    asked = [one for one in opened if isinstance(one, _Opened)]
    found = predictor.predict([one.query for one in asked], len(asked))
    for one, prediction in zip(asked, found, strict=True):
        if prediction.id in fresh:
            answer = VisualAnswer(prediction, one.query.question, one.query.pictures)
            _keep(out / ANSWERS / one.read.asked.folder, answer, one.read.facts)


def _keep(place: Path, answer: VisualAnswer, facts: Mapping[str, Any]) -> None:
    """Write an answer's folder beside its place, then put it there."""
    fresh = place.with_name(f".{os.getpid()}.tmp")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        answer.save(fresh, facts)
        if place.exists():
            shutil.rmtree(place)
        fresh.rename(place)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _lines(
    out: Path, sets: Sequence[ImageSet | Unusable], refused: set[str]
) -> Iterator[Mapping[str, Any]]:
    """Yield the answers in the order of the sets, as lines of a predictions file."""
    for one in sets:
        if isinstance(one, ImageSet) and one.id not in refused:
            yield read_answer(out / ANSWERS / one.folder) or {}


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON lines beside their place, then put them there."""
    try:
        with (
            written_beside(path, flush=False) as temporary,
            temporary.open("w", encoding="utf-8") as file,
        ):
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    except OSError as error:
        raise EnvironmentFault(f"{path} cannot be written: {error.strerror or error}") from error
