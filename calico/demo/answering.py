"""From the images and question of a visitor to everything that the page shows."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from zipfile import ZIP_DEFLATED, ZipFile

from PIL import Image

from calico.inference.answer import ANSWER, OVERLAY, VisualAnswer
from calico.inference.drawing import answer_runs
from calico.inference.predictor import Predictor
from calico.predictions.types import COUNTED, SYNTHETIC_NOTE
from calico.processing.images import open_image
from calico.runtime.device import prepare_process
from mixedparts.errors import UsageError
from mixedparts.files.folders import list_folder
from mixedparts.images.opening import image_bytes
from mixedparts.masks import area
from mixedparts.tables.overlay import colours_of

ARCHIVE = "prediction.zip"
KEPT_ANSWERS = 50  # a megabyte each; the files of older ones are deleted


@dataclass(frozen=True, slots=True)
class Upload:
    """An image file that a visitor chose.

    Attributes:
        path: of the file on this machine.
        name: that the visitor knows it by.
    """

    path: Path
    name: str


@dataclass(frozen=True, slots=True)
class TableRow:
    """One region of an answer in the table.

    Attributes:
        number: of the region in the answer, from 1.
        phrase: label of the mask.
        image: number of the image, from 1.
        score: mean probability inside the mask.
        pixels: area of the mask.
        share: of the image that the mask covers, in percent.
    """

    number: int
    phrase: str
    image: int
    score: float
    pixels: int
    share: float


@dataclass(frozen=True, slots=True)
class Shown:
    """What the page shows for an answer.

    Attributes:
        overlay: images with labelled masks, question and answer.
        runs: pieces of the answer; a phrase with the label of its masks, other text with None.
        colours: of each label, as in the overlay: `#rrggbb`.
        rows: the regions.
        notes: sentences about the answer that its reader should know.
        files: a ZIP archive of everything, prediction.json, overlay.png and the mask files.
    """

    overlay: Image.Image
    runs: tuple[tuple[str, str | None], ...]
    colours: dict[str, str]
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...]
    files: tuple[Path, ...]


class Answering:
    """Answers the questions of all visitors, one after the other.

    Args:
        predictor: the model.
        folder: gets a sub-folder for each answer, of which the last `KEPT_ANSWERS` stay.
        threads: of the CPU; None: one for each core.
    """

    def __init__(self, predictor: Predictor, folder: Path, threads: int | None = None) -> None:
        self.predictor = predictor
        self._folder = folder
        self._kept: deque[Path] = deque(maxlen=KEPT_ANSWERS)
        # One thread of its own: how denormal numbers are computed is a setting of a thread, and
        # answers shall be those of calico-predict.
        self._thread = ThreadPoolExecutor(1, "answers", partial(prepare_process, threads))

    @property
    def most_images(self) -> int:
        """The number of images that the model has tags for."""
        return self.predictor.config.prompt.max_images

    def ask(self, uploads: Sequence[Upload | None], task: str, question: str | None) -> Shown:
        """Answer a question about the images that a visitor chose.

        Args:
            uploads: the places for images in order; None for an empty one.
            task: `common_object`, `common_parts` or `unique_parts`.
            question: asked instead of the task's; blank for the task's.

        Returns:
            The answer in the pieces that the page shows.

        Raises:
            UsageError: too few or too many images, an empty place before an image, or no such task.
            InputError: an image cannot be read or decoded.
        """
        chosen = self._chosen(uploads)
        names = [f"image {number} ({one.name})" for number, one in enumerate(chosen, 1)]
        images = [
            open_image(image_bytes(one.path), name) for one, name in zip(chosen, names, strict=True)
        ]
        asked = (question or "").strip() or None
        answer = self._thread.submit(self.predictor, *images, task=task, question=asked).result()
        folder = self._new_folder()
        answer.save(folder, {"images": [one.name for one in chosen], "task": task})
        return _shown(answer, folder)

    def _new_folder(self) -> Path:
        """Return an empty folder for an answer; the oldest one is deleted."""
        if len(self._kept) == self._kept.maxlen:
            shutil.rmtree(self._kept[0], ignore_errors=True)
        self._kept.append(Path(mkdtemp(prefix="answer-", dir=self._folder)))
        return self._kept[-1]

    def _chosen(self, uploads: Sequence[Upload | None]) -> list[Upload]:
        """Return the images without the empty places after them; errors as `ask`."""
        count = max((at for at, one in enumerate(uploads, 1) if one is not None), default=0)
        if count > self.most_images:
            raise UsageError(
                f"{count} images were given, this model takes at most {self.most_images}."
            )
        needed = max(count, min(2, self.most_images))
        places = [*uploads, *[None] * needed][:needed]
        missing = [number for number, one in enumerate(places, 1) if one is None]
        if missing:
            numbers = " and ".join(map(str, missing))
            many = len(missing) > 1
            raise UsageError(
                f"Image{'s' if many else ''} {numbers} {'are' if many else 'is'} missing."
                f" Choose {'them' if many else 'it'}, or one of the examples."
            )
        return [one for one in places if one is not None]


def _shown(answer: VisualAnswer, folder: Path) -> Shown:
    """Return what the page shows of an answer whose files are in a folder."""
    labels = [segment.label for segment in answer.segments]
    colours = colours_of(labels)
    rows = tuple(
        TableRow(
            number,
            segment.label,
            segment.image + 1,
            round(segment.score, 3),
            area(segment.mask),
            round(100 * area(segment.mask) / (segment.mask.height * segment.mask.width), 2),
        )
        for number, segment in enumerate(answer.segments, 1)
    )
    # A phrase without a mask gets no colour: it would promise one.
    runs = tuple(
        (text, label if label in colours else None) for text, label in answer_runs(answer.text)
    )
    return Shown(
        answer.overlay(),
        runs,
        {label: "#{:02x}{:02x}{:02x}".format(*colour) for label, colour in colours.items()},
        rows,
        _notes(answer),
        _files(folder),
    )


def _notes(answer: VisualAnswer) -> tuple[str, ...]:
    """Return what the reader of an answer should know about it."""
    notes = [f"This model {SYNTHETIC_NOTE}"] if answer.synthetic else []
    if not answer.segments:
        notes.append("The answer contains no mask.")
    empty = sum(area(segment.mask) == 0 for segment in answer.segments)
    if empty:
        notes.append(f"Empty masks: {empty}.")
    for name, meaning in COUNTED.items():
        count = getattr(answer.prediction, name)
        if count:
            notes.append(f"{count} {meaning}.")
    return tuple(notes)


def _files(folder: Path) -> tuple[Path, ...]:
    """Return the files of an answer, an archive of all of them first."""
    first = (ANSWER, OVERLAY)
    masks = [entry.name for entry in list_folder(folder) if entry.name not in first]
    files = [folder / name for name in (*first, *masks)]
    archive = folder / ARCHIVE
    with ZipFile(archive, "w", ZIP_DEFLATED) as written:
        for file in files:
            written.write(file, file.name)
    return (archive, *files)
