"""What is asked about some pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from calico.inference.answer import read_picture
from calico.processing.images import open_picture
from mixedparts.errors import InputError, UsageError
from mixedparts.records import Task
from mixedparts.text import answers as wording


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked about some pictures.

    Attributes:
        id: comes back with the prediction.
        question: in words.
        pictures: RGB, on the stored pixel grid.
        keys: names that are equal only for equal pictures, so that each is encoded once; None
            encodes all of them.
    """

    id: str
    question: str
    pictures: tuple[Image.Image, ...]
    keys: tuple[str, ...] | None = None


def row_query(row: Mapping[str, Any]) -> Query:
    """Return the question of a row of `pairs` joined with pictures.

    Raises:
        InputError: something of it is missing.
    """
    try:
        refs = row["images"]
        return Query(
            id=row["id"],
            question=row["question"],
            pictures=tuple(ref["pixels"] for ref in refs),
            keys=tuple(f"{row['source']}/{row['split']}/{ref['row']}" for ref in refs),
        )
    except KeyError as error:
        raise InputError(
            f"a row of pairs lacks {error}",
            "Load rows with their pictures: mixedparts.load_dataset(name, split=…)",
        ) from error


def task_question(task: str, images: int = 2) -> str:
    """Return the first wording of a task's question about some number of images.

    Raises:
        UsageError: there is no such task.
    """
    if task not in {*Task}:
        raise UsageError(f"there is no task '{task}'", f"Tasks: {', '.join(Task)}.")
    worded = min(max(images, 2), wording.MOST_WORDED)
    return wording.question(Task(task), 0, worded)


def rgb_image(given: str | Path | Image.Image) -> Image.Image:
    """Return a picture, or the file of one, as RGB.

    Raises:
        InputError: a file that cannot be read.
    """
    if isinstance(given, Image.Image):
        return given.convert("RGB")
    return open_picture(read_picture(Path(given)), str(given))
