"""Questions about images, from files, rows of a dataset or memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from PIL import Image

from calico.processing.images import open_image, rgb_of_any
from calico.processing.prepared import ImagePreparer, PreparedImages, image_request
from mixedparts.errors import InputError, UsageError, near_names
from mixedparts.images.opening import image_bytes
from mixedparts.records import Task
from mixedparts.text import answers as wording

AnyImage = str | Path | Image.Image | NDArray[Any]  # a file, or an image in memory


@dataclass(frozen=True, slots=True)
class Query:
    """One question about some images.

    Attributes:
        id: returned with the prediction.
        question: in words.
        images: RGB, on the stored pixel grid.
        keys: names that are equal only for equal images, so that each is encoded once; None
            encodes every image.
        prepared: each image as a worker process prepares it for the encoders; None where the
            predictor has to.
    """

    id: str
    question: str
    images: tuple[Image.Image, ...]
    keys: tuple[str, ...] | None = None
    prepared: tuple[PreparedImages, ...] | None = None

    def with_prepared(self, preparer: ImagePreparer) -> Query:
        """Return the query with its images prepared for the encoders."""
        requests = [image_request(image) for image in self.images]
        return replace(self, prepared=tuple(preparer.prepare([one]) for one in requests))


def row_query(row: Mapping[str, Any]) -> Query:
    """Return the question of a row of `pairs` joined with its images.

    Raises:
        InputError: the row lacks a key.
    """
    try:
        refs = row["images"]
        # An image's row number is unique within its source and split.
        return Query(
            id=row["id"],
            question=row["question"],
            images=tuple(rgb_image(ref["pixels"]) for ref in refs),
            keys=tuple(f"{row['source']}/{row['split']}/{ref['row']}" for ref in refs),
        )
    except KeyError as error:
        raise InputError(
            f"a row of pairs lacks {error}",
            "Load rows with their images: mixedparts.load_dataset(name, split=…)",
        ) from error


def task_question(task: str, images: int = 2) -> str:
    """Return the first wording of a task's question about a number of images.

    Raises:
        UsageError: there is no such task.
    """
    if task not in {*Task}:
        near = near_names(str(task), Task)
        raise UsageError(f"there is no task '{task}'.{near}", f"Tasks: {', '.join(Task)}.")
    # There are wordings for 2 to MOST_WORDED images; the nearest are used for other numbers.
    worded = min(max(images, 2), wording.MOST_WORDED)
    return wording.question(Task(task), 0, worded)


def rgb_image(given: AnyImage) -> Image.Image:
    """Return an image, in memory or in a file, as RGB; one rule for both (docs/images.md).

    Raises:
        InputError: the file cannot be read or decoded, or the value is no image.
    """
    if isinstance(given, str | Path):
        return open_image(image_bytes(given), str(given))
    return rgb_of_any(given, "in memory")
