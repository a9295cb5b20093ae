"""An answer as one image: its images with their masks, the question and the answer."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from PIL import Image

from calico.predictions.types import Prediction, Segment
from mixedparts.images.opening import rgb_in_memory
from mixedparts.masks import area
from mixedparts.tables.overlay import Marked, colours_of, draw_panels
from mixedparts.text.answers import label_of
from mixedparts.text.fonts import visual_order
from mixedparts.text.lettering import Colour, text_length, write_text

PANEL_HEIGHT = 400
_MARGIN = 24
_GAP = 16
_TEXT = (32, 33, 36)
_QUESTION, _ANSWER = 20, 18  # pixels of the letters
_FAINT = (105, 108, 114)
_GROUNDING = re.compile(r"\[SEG\]|\(IMAGE\d+\)|<p>|</p>")
_SPACES = re.compile(r"\s+")
_BEFORE_MARK = re.compile(r" ([.,;:?!])")
_PHRASE = re.compile(r"(<p>.*?</p>)")


def draw_prediction(
    images: Sequence[Image.Image], question: str, prediction: Prediction, note: str = ""
) -> Image.Image:
    """Draw masks over their images, side by side, with the question above and the answer below.

    Args:
        images: in original size.
        question: as it was asked.
        prediction: segments in original size.
        note: written below the answer.

    Returns:
        An RGB image; a label has one colour, the same in all images and in the answer.
    """
    colours = colours_of([segment.label for segment in prediction.segments])
    arrays = [np.asarray(rgb_in_memory(image, "in memory")) for image in images]
    panels = draw_panels(arrays, _marked(prediction.segments), PANEL_HEIGHT)
    width = sum(panel.width for panel in panels) + _GAP * (len(panels) - 1) + 2 * _MARGIN
    # Text is broken into lines before the canvas exists, because its height depends on them.
    answer = _answer_lines(prediction.answer, colours, width - 2 * _MARGIN)
    answer += _wrapped([(note, _FAINT)], _ANSWER, width - 2 * _MARGIN) if note else []
    asked = _wrapped([(question, _TEXT)], _QUESTION, width - 2 * _MARGIN)
    height = 2 * _MARGIN + 28 * len(asked) + PANEL_HEIGHT + 16 + 27 * len(answer)
    canvas = Image.new("RGB", (width, height), "white")
    top = _write(canvas, asked, _QUESTION, _MARGIN - 4, 28)
    left = _MARGIN
    for panel in panels:
        canvas.paste(panel, (left, top + 4))
        left += panel.width + _GAP
    _write(canvas, answer, _ANSWER, top + PANEL_HEIGHT + 16, 27)
    return canvas


def _marked(segments: Sequence[Segment]) -> list[Marked]:
    """Return the masks to draw; the largest of several in an image is only outlined."""
    # It is the object as a rule, and filled it would hide the parts that lie on it.
    marked = []
    for segment in segments:
        areas = [area(other.mask) for other in segments if other.image == segment.image]
        outlined = len(areas) > 1 and area(segment.mask) == max(areas)
        marked.append(Marked(segment.image, segment.label, segment.mask, outlined))
    return marked


def answer_runs(answer: str) -> list[tuple[str, str | None]]:
    """Split an answer into text and phrases, without its grounding tokens.

    Returns:
        Pieces in order: a phrase with its label (the phrase without article), which is that of its
        masks; other text, with its spaces, with None.
    """
    runs: list[tuple[str, str | None]] = []
    for piece in _PHRASE.split(answer):
        if piece.startswith("<p>"):
            phrase = piece[3:-4].strip()
            runs.append((phrase, label_of(phrase)))
        else:
            # Without the tokens, their spaces stand before a comma or beside each other.
            text = _SPACES.sub(" ", _GROUNDING.sub("", piece))
            runs.append((_BEFORE_MARK.sub(r"\1", text), None))
    return runs


def _answer_lines(
    answer: str, colours: dict[str, Colour], width: int
) -> list[list[tuple[str, Colour]]]:
    """Return the answer without grounding tokens, phrases in the colours of their masks."""
    runs = [
        (text, _FAINT if label is None else colours.get(label, _TEXT))
        for text, label in answer_runs(answer)
    ]
    return _wrapped(runs, _ANSWER, width)


def _wrapped(
    runs: Sequence[tuple[str, Colour]], size: int, width: int
) -> list[list[tuple[str, Colour]]]:
    """Break coloured words into lines; punctuation stays with the word before it."""
    words = [(word, colour) for text, colour in runs for word in text.split()]
    lines: list[list[tuple[str, Colour]]] = [[]]
    used = 0.0
    for word, colour in words:
        # Splitting off grounding tokens leaves a mark like "," as a word of its own.
        joined = word[0] in ".,;:?!"
        length = text_length(word if joined or not lines[-1] else f" {word}", size)
        if used + length > width and not joined and lines[-1]:
            lines.append([])
            used, length = 0.0, text_length(word, size)
        lines[-1].append((word, colour))
        used += length
    return lines


def _write(
    canvas: Image.Image,
    lines: Sequence[Sequence[tuple[str, Colour]]],
    size: int,
    top: int,
    step: int,
) -> int:
    """Write lines of coloured words from row `top` on and return the row of the next line."""
    for line in lines:
        left = float(_MARGIN)
        # Words of Arabic or Hebrew stand from right to left.
        for place, number in enumerate(visual_order([word for word, _ in line])):
            word, colour = line[number]
            left += text_length(" ", size) if place and word[0] not in ".,;:?!" else 0
            write_text(canvas, (left, top), word, size, colour)
            left += text_length(word, size)
        top += step
    return top
