"""A visual answer: text and masks with their images, as an overlay, as arrays and as files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from calico.inference.drawing import draw_prediction
from calico.predictions.types import (
    COUNTED,
    SYNTHETIC_KEY,
    SYNTHETIC_NOTE,
    Prediction,
    Segment,
)
from mixedparts.files.text import read_own_json
from mixedparts.masks import decode

OVERLAY, ANSWER = "overlay.png", "prediction.json"
_SCORE_DIGITS = 6


@dataclass(frozen=True, slots=True)
class VisualAnswer:
    """Answer of a model to a question about some images.

    Attributes:
        prediction: text and masks.
        question: as it was asked.
        images: RGB, on the stored pixel grid (EXIF orientation not applied), as the masks.
        synthetic: whether the model was trained on synthetic images.
    """

    prediction: Prediction
    question: str
    images: tuple[Image.Image, ...]
    synthetic: bool = False

    @property
    def text(self) -> str:
        """The answer as it was generated."""
        return self.prediction.answer

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Label, image (from 0), COCO RLE mask and score of every region, in order."""
        return self.prediction.segments

    @property
    def pictures(self) -> tuple[Image.Image, ...]:
        """The images, under the name that they had in earlier versions."""
        return self.images

    def masks(self) -> Iterator[tuple[str, int, NDArray[np.bool_]]]:
        """Yield label, image (from 0) and (H, W) bool mask in original size of every region."""
        for segment in self.segments:
            yield segment.label, segment.image, decode(segment.mask).astype(bool)

    def overlay(self) -> Image.Image:
        """Return one RGB image with the question, the images with labelled masks and the answer."""
        note = f"This model {SYNTHETIC_NOTE}" if self.synthetic else ""
        return draw_prediction(self.images, self.question, self.prediction, note)

    def save(self, folder: Path, metadata: Mapping[str, Any] | None = None) -> None:
        """Write overlay.png, prediction.json and one PNG a mask (255 inside).

        Files of an earlier answer in the same folder are replaced; others stay.

        Args:
            folder: created if it does not exist.
            metadata: further keys of prediction.json, before the answer.
        """
        # The earlier answer may have more masks or other labels: its mask files would stay.
        folder.mkdir(parents=True, exist_ok=True)
        for name in _mask_files(folder):
            (folder / name).unlink(missing_ok=True)
        names = [_file_name(number, segment) for number, segment in enumerate(self.segments, 1)]
        for name, segment in zip(names, self.segments, strict=True):
            Image.fromarray(decode(segment.mask) * np.uint8(255)).save(folder / name)
        self.overlay().save(folder / OVERLAY)
        content = {
            "id": self.prediction.id,
            **(metadata or {}),
            SYNTHETIC_KEY: self.synthetic,
            "question": self.question,
            "answer": self.text,
            **{name: getattr(self.prediction, name) for name in COUNTED},
            "segments": [
                _described(segment, name)
                for segment, name in zip(self.segments, names, strict=True)
            ],
        }
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        (folder / ANSWER).write_text(text, encoding="utf-8")


def read_answer(folder: Path) -> dict[str, Any] | None:
    """Return the content of a folder's prediction.json, None if it is missing or broken."""
    content = read_own_json(folder / ANSWER)
    return content if isinstance(content, dict) else None


def _described(segment: Segment, name: str) -> dict[str, Any]:
    size = [segment.mask.height, segment.mask.width]
    return {
        "label": segment.label,
        "image": segment.image,
        "score": round(segment.score, _SCORE_DIGITS),
        "mask": {"size": size, "counts": segment.mask.counts.decode()},
        "file": name,
    }


def _file_name(number: int, segment: Segment) -> str:
    # Labels are generated text: any character but letters and digits is replaced, and a long one
    # is cut, so that every label gives a valid file name.
    word = "".join(letter if letter.isalnum() else "-" for letter in segment.label)[:60]
    return f"mask-{number:02d}-image{segment.image + 1}-{word or 'region'}.png"


def _mask_files(folder: Path) -> Sequence[str]:
    """Return the names of the mask files that an earlier answer in this folder lists."""
    try:
        names = [str(segment["file"]) for segment in (read_answer(folder) or {})["segments"]]
    except (KeyError, TypeError):
        return ()
    # They will be deleted: only plain names of masks, never a path out of the folder.
    return [name for name in names if name.startswith("mask-") and Path(name).name == name]
