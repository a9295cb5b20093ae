"""A predicted pair as one picture: both images with their masks, the question and the answer."""

from __future__ import annotations

import re
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from calico.predictions import Prediction, Segment
from mixedparts.masks import area, decode
from mixedparts.wording import label_of

PANEL_HEIGHT = 400
_MARGIN = 24
_GAP = 16
_TEXT = (32, 33, 36)
_FAINT = (105, 108, 114)
_PALETTE = (
    (227, 74, 51), (49, 130, 189), (49, 163, 84), (230, 145, 0), (136, 86, 167), (0, 158, 161),
    (201, 66, 130), (122, 133, 20), (80, 90, 200), (153, 83, 32), (20, 110, 90), (110, 110, 110),
)  # fmt: skip
_GROUNDING = re.compile(r"\[SEG\]|\(IMAGE\d+\)|<p>|</p>")
_PHRASE = re.compile(r"(<p>.*?</p>)")

Colour = tuple[int, int, int]


def draw_prediction(
    pictures: Sequence[Image.Image], question: str, prediction: Prediction
) -> Image.Image:
    """Draw masks over their pictures, side by side, with question above and answer below.

    Args:
        pictures: RGB in original size.
        question: as it was asked.
        prediction: segments in original size.

    Returns:
        an RGB picture; one colour a label, the same in both images and in the answer.
    """
    labels = list(dict.fromkeys(segment.label for segment in prediction.segments))
    colours = {label: _PALETTE[at % len(_PALETTE)] for at, label in enumerate(labels)}
    panels = [
        _panel(picture, [one for one in prediction.segments if one.image == number], colours)
        for number, picture in enumerate(pictures)
    ]
    width = sum(panel.width for panel in panels) + _GAP * (len(panels) - 1) + 2 * _MARGIN
    answer = _answer_lines(prediction.answer, colours, width - 2 * _MARGIN)
    asked = _wrapped([(question, _TEXT)], _font(20), width - 2 * _MARGIN)
    height = 2 * _MARGIN + 28 * len(asked) + PANEL_HEIGHT + 16 + 27 * len(answer)
    canvas = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(canvas)
    top = _write(pen, asked, _font(20), _MARGIN - 4, 28)
    left = _MARGIN
    for panel in panels:
        canvas.paste(panel, (left, top + 4))
        left += panel.width + _GAP
    _write(pen, answer, _font(18), top + PANEL_HEIGHT + 16, 27)
    return canvas


def _panel(
    picture: Image.Image, segments: Sequence[Segment], colours: dict[str, Colour]
) -> Image.Image:
    """Draw one image: large regions first as outlines, small ones filled, then their names."""
    scale = PANEL_HEIGHT / picture.height
    size = (max(1, round(picture.width * scale)), PANEL_HEIGHT)
    pixels = np.asarray(picture.resize(size, Image.Resampling.LANCZOS)).astype(np.float32)
    ordered = sorted(segments, key=lambda one: -area(one.mask))
    shown = [(one, _enlarged(one, size)) for one in ordered]
    for number, (segment, mask) in enumerate(shown):
        # An object under its parts is tinted lightly, so that the parts stay readable.
        holds_others = number == 0 and len(shown) > 1
        strength = 0.18 if holds_others else 0.5
        tint = np.array(colours[segment.label], np.float32)
        pixels += mask[..., None] * strength * (tint - pixels)
    drawn = np.clip(pixels, 0, 255).astype(np.uint8)
    for segment, mask in shown:
        contours, _ = cv2.findContours(
            (mask > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(drawn, contours, -1, (255, 255, 255), 4, cv2.LINE_AA)
        cv2.drawContours(drawn, contours, -1, colours[segment.label], 2, cv2.LINE_AA)
    panel = Image.fromarray(drawn)
    _name_regions(panel, shown, colours)
    return panel


def _enlarged(segment: Segment, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return a mask at panel size (H, W) in [0, 1] with a smooth edge."""
    mask = decode(segment.mask).astype(np.float32)
    enlarged = cv2.resize(mask, size, interpolation=cv2.INTER_CUBIC)
    smooth = cv2.GaussianBlur(enlarged, (0, 0), 2.0)
    edged: NDArray[np.float32] = np.clip((smooth - 0.5) * 3 + 0.5, 0, 1).astype(np.float32)
    return edged


def _name_regions(
    panel: Image.Image,
    shown: Sequence[tuple[Segment, NDArray[np.float32]]],
    colours: dict[str, Colour],
) -> None:
    """Write each label on its region, moved up or down where another one stands already."""
    pen = ImageDraw.Draw(panel)
    font = _font(17)
    taken: list[tuple[float, float, float, float]] = []
    for segment, mask in reversed(shown):
        solid = (mask > 0.5).astype(np.uint8)
        if not solid.any() or not segment.label:
            continue
        distance = cv2.distanceTransform(np.pad(solid, 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
        y, x = np.unravel_index(int(distance.argmax()), distance.shape)
        width = pen.textlength(segment.label, font=font) + 12
        left = min(max(float(x) - width / 2, 2), max(2, panel.width - width - 2))
        for shift in (0, -25, 25, -50, 50, -75, 75):
            top = min(max(float(y) - 12 + shift, 2), PANEL_HEIGHT - 26)
            box = (left, top, left + width, top + 23)
            if not any(_overlap(box, other) for other in taken):
                break
        taken.append(box)
        pen.rounded_rectangle(box, 6, fill=colours[segment.label], outline="white", width=1)
        pen.text((left + 6, top + 11), segment.label, fill="white", font=font, anchor="lm")


def _overlap(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _answer_lines(
    answer: str, colours: dict[str, Colour], width: int
) -> list[list[tuple[str, Colour]]]:
    """Return the answer without grounding tokens, phrases in the colours of their masks."""
    runs: list[tuple[str, Colour]] = []
    for piece in _PHRASE.split(answer):
        if piece.startswith("<p>"):
            phrase = piece[3:-4].strip()
            runs.append((phrase, colours.get(label_of(phrase), _TEXT)))
        else:
            runs.append((_GROUNDING.sub("", piece), _FAINT))
    return _wrapped(runs, _font(18), width)


def _wrapped(
    runs: Sequence[tuple[str, Colour]], font: ImageFont.FreeTypeFont, width: int
) -> list[list[tuple[str, Colour]]]:
    """Break coloured words into lines; a mark like "," stays with the word before it."""
    words = [(word, colour) for text, colour in runs for word in text.split()]
    lines: list[list[tuple[str, Colour]]] = [[]]
    used = 0.0
    for word, colour in words:
        joined = word[0] in ".,;:?!"
        length = font.getlength(word if joined or not lines[-1] else f" {word}")
        if used + length > width and not joined and lines[-1]:
            lines.append([])
            used, length = 0.0, font.getlength(word)
        lines[-1].append((word, colour))
        used += length
    return lines


def _write(
    pen: ImageDraw.ImageDraw,
    lines: Sequence[Sequence[tuple[str, Colour]]],
    font: ImageFont.FreeTypeFont,
    top: int,
    step: int,
) -> int:
    """Write lines of coloured words from `top` on; return where the next line would stand."""
    for line in lines:
        left = float(_MARGIN)
        for place, (word, colour) in enumerate(line):
            text = word if place == 0 or word[0] in ".,;:?!" else f" {word}"
            pen.text((left, top), text, fill=colour, font=font)
            left += font.getlength(text)
        top += step
    return top


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font
