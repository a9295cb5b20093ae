"""Masks with labels drawn over the pictures of a sample, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mixedparts import masks
from mixedparts.masks import Rle

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]

PANEL_HEIGHT = 320
_GAP = 12
_WIDEST, _NARROWEST = 2.5, 0.45  # of a panel, in its heights; labels need room
_PALETTE: tuple[Colour, ...] = (
    (227, 74, 51), (49, 130, 189), (49, 163, 84), (230, 145, 0), (136, 86, 167), (0, 158, 161),
    (201, 66, 130), (122, 133, 20), (80, 90, 200), (153, 83, 32), (20, 110, 90), (110, 110, 110),
    (235, 105, 140), (0, 90, 130), (130, 170, 40), (90, 40, 120), (185, 145, 95), (30, 55, 110),
    (240, 115, 60), (60, 175, 150),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Marked:
    """A region to draw.

    Attributes:
        image: index of the picture it lies in, from 0.
        outlined: draw the outline only, for objects under their parts.
        mask: of the picture's stored size.
    """

    image: int
    label: str
    mask: Rle
    outlined: bool = False


def colours_of(labels: Sequence[str]) -> dict[str, Colour]:
    """Return one RGB colour a label, in the order in which labels first come up."""
    distinct = dict.fromkeys(labels)
    return {label: _PALETTE[at % len(_PALETTE)] for at, label in enumerate(distinct)}


def draw_sample(pictures: Sequence[Picture], marked: Sequence[Marked]) -> Picture:
    """Draw the regions over their pictures, side by side, one colour a label.

    Args:
        pictures: (H, W, 3) uint8 RGB each, on the stored pixel grid or a smaller one.

    Returns:
        (PANEL_HEIGHT, total width, 3) uint8 RGB on white.
    """
    gap = np.full((PANEL_HEIGHT, _GAP, 3), 255, np.uint8)
    pieces = []
    for panel in draw_panels(pictures, marked, PANEL_HEIGHT):
        pieces += [np.asarray(panel), gap]
    return np.hstack(pieces[:-1])


def draw_panels(
    pictures: Sequence[Picture], marked: Sequence[Marked], height: int
) -> list[Image.Image]:
    """Return every picture with its regions in a panel of some height, one colour a label in all.

    A picture that is very wide or narrow stands in the middle of a white panel.
    """
    colours = colours_of([item.label for item in marked])
    return [
        _panel(picture, [item for item in marked if item.image == number], colours, height)
        for number, picture in enumerate(pictures)
    ]


def _panel(
    picture: Picture, marked: Sequence[Marked], colours: Mapping[str, Colour], height: int
) -> Image.Image:
    size, corner, frame = _fitted(picture.shape[1], picture.shape[0], height)
    canvas: Picture = np.full((frame[1], frame[0], 3), 255, np.uint8)
    inner = slice(corner[1], corner[1] + size[1]), slice(corner[0], corner[0] + size[0])
    canvas[inner] = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
    shown = []
    for item in marked:
        dense: Picture = np.zeros(canvas.shape[:2], np.uint8)
        dense[inner] = _enlarged(item.mask, size)
        shown.append((item, dense))
    shown = [(item, dense) for item, dense in shown if dense.any()]
    for item, dense in sorted(shown, key=lambda pair: not pair[0].outlined):
        if not item.outlined:
            _tint(canvas, dense, colours[item.label])
        contours, _ = cv2.findContours(dense, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(canvas, contours, -1, (255, 255, 255), 4, cv2.LINE_8)
        cv2.drawContours(canvas, contours, -1, colours[item.label], 2, cv2.LINE_AA)
    panel = Image.fromarray(canvas)
    pen = ImageDraw.Draw(panel)
    taken: list[Box] = []
    for item, dense in sorted(shown, key=lambda pair: pair[0].outlined):
        _write(pen, item.label, _anchor(dense, item.outlined), colours[item.label], taken)
    return panel


def _fitted(
    width: int, height: int, panel: int
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Return size of a picture in a panel, its upper left corner there, and the panel's size.

    All are (x, y) in pixels; `panel` is the panel's height.
    """
    scale = min(panel / height, _WIDEST * panel / width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    frame = max(size[0], round(_NARROWEST * panel)), panel
    return size, ((frame[0] - size[0]) // 2, (frame[1] - size[1]) // 2), frame


def _enlarged(mask: Rle, size: tuple[int, int]) -> Picture:
    """Return a mask at panel size, (h, w) of 0 and 1, its edge smooth where it is enlarged."""
    grid = masks.decode(mask) * np.uint8(255)
    return np.asarray(cv2.resize(grid, size, interpolation=cv2.INTER_LINEAR) > 127).astype(np.uint8)


def _tint(canvas: Picture, dense: Picture, colour: Colour) -> None:
    """Mix a colour into the pixels of a mask, looking no farther than its box."""
    x, y, width, height = cv2.boundingRect(dense)
    box = slice(y, y + height), slice(x, x + width)
    part = np.ascontiguousarray(canvas[box])
    mixed = cv2.addWeighted(part, 0.5, np.full_like(part, colour), 0.5, 0)
    canvas[box] = cv2.copyTo(mixed, np.ascontiguousarray(dense[box]), part)


def _anchor(dense: Picture, outlined: bool) -> tuple[int, int]:
    """Return where a label goes: above an outline, on the most inner point of a filled mask."""
    left, top, width, height = cv2.boundingRect(dense)
    if outlined:
        return left + width // 2, max(10, top - 10)
    inside = np.pad(dense[top : top + height, left : left + width], 1)
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
    y, x = np.unravel_index(int(distance.argmax()), distance.shape)
    return left + int(x) - 1, top + int(y) - 1


def _write(
    pen: ImageDraw.ImageDraw, label: str, centre: tuple[int, int], colour: Colour, taken: list[Box]
) -> None:
    """Write a label on a plate, moved up or down where another one stands already."""
    if not label:
        return
    width, height = _font().getlength(label) + 10, 20
    most_left, most_down = pen.im.size[0] - width - 2, pen.im.size[1] - height - 2
    left = min(max(centre[0] - width / 2, 2), max(2, most_left))
    for shift in (0, -21, 21, -42, 42, -63, 63, -84, 84):
        top = min(max(centre[1] - height / 2 + shift, 2), most_down)
        box = (left, top, left + width, top + height)
        if not any(_meet(box, other) for other in taken):
            break
    taken.append(box)
    pen.rounded_rectangle(box, 5, fill=colour, outline="white", width=1)
    pen.text((left + 5, top + height / 2), label, fill="white", font=_font(), anchor="lm")


def _meet(one: Box, two: Box) -> bool:
    return one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3]


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(14)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font
