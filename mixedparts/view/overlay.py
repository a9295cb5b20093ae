"""Masks with labels drawn over the pictures of a sample, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mixedparts import masks
from mixedparts.masks import Rle

Picture = NDArray[np.uint8]

PANEL_HEIGHT = 320
_GAP = 12
_FONT = cv2.FONT_HERSHEY_DUPLEX
_COLOURS = (
    (228, 76, 64), (46, 134, 222), (38, 166, 91), (243, 156, 18), (155, 89, 182), (0, 172, 168),
    (214, 69, 148), (120, 144, 30), (93, 109, 226), (176, 98, 40), (90, 90, 90), (29, 120, 116),
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


def draw_sample(pictures: Sequence[Picture], marked: Sequence[Marked]) -> Picture:
    """Draw the regions over their pictures, side by side, one colour a label.

    Args:
        pictures: (H, W, 3) uint8 RGB each, on the stored pixel grid.

    Returns:
        (PANEL_HEIGHT, total width, 3) uint8 RGB on white.
    """
    labels = list(dict.fromkeys(item.label for item in marked))
    colours = {label: _COLOURS[at % len(_COLOURS)] for at, label in enumerate(labels)}
    panels = []
    for number, picture in enumerate(pictures):
        mine = [item for item in marked if item.image == number]
        panels.append(_panel(picture, mine, colours))
        panels.append(np.full((PANEL_HEIGHT, _GAP, 3), 255, np.uint8))
    return np.hstack(panels[:-1])


def _panel(
    picture: Picture, marked: Sequence[Marked], colours: dict[str, tuple[int, int, int]]
) -> Picture:
    height, width = picture.shape[:2]
    scale = PANEL_HEIGHT / height
    size = max(1, round(width * scale)), PANEL_HEIGHT
    canvas: Picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR))
    anchors = []
    for item in sorted(marked, key=lambda item: not item.outlined):
        grid = masks.decode(item.mask)
        dense: Picture = np.asarray(cv2.resize(grid, size, interpolation=cv2.INTER_NEAREST))
        colour = colours[item.label]
        if not item.outlined:
            _tint(canvas, dense, colour)
        contours, _ = cv2.findContours(dense, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(canvas, contours, -1, colour, 2, cv2.LINE_AA)
        if dense.any():
            anchors.append((item, _anchor(dense, item.outlined)))
    taken: list[tuple[int, int, int, int]] = []
    for item, anchor in anchors:
        _write(canvas, item.label, anchor, colours[item.label], taken)
    return canvas


def _tint(canvas: Picture, dense: Picture, colour: tuple[int, int, int]) -> None:
    """Mix a colour into the pixels of a mask, looking no farther than its box."""
    x, y, width, height = cv2.boundingRect(dense)
    box = slice(y, y + height), slice(x, x + width)
    part = np.ascontiguousarray(canvas[box])
    mixed = cv2.addWeighted(part, 0.5, np.full_like(part, colour), 0.5, 0)
    canvas[box] = cv2.copyTo(mixed, np.ascontiguousarray(dense[box]), part)


def _anchor(dense: Picture, outlined: bool) -> tuple[int, int]:
    """Return where a label goes: the top of an outline, the most inner point of a filled mask."""
    if outlined:
        rows = np.flatnonzero(dense.any(axis=1))
        return int(np.flatnonzero(dense[rows[0]]).mean()), max(8, int(rows[0]) - 8)
    left, top, width, height = cv2.boundingRect(dense)
    inside = np.pad(dense[top : top + height, left : left + width], 1)
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
    y, x = np.unravel_index(int(distance.argmax()), distance.shape)
    return left + int(x) - 1, top + int(y) - 1


def _write(
    canvas: Picture,
    label: str,
    centre: tuple[int, int],
    colour: tuple[int, int, int],
    taken: list[tuple[int, int, int, int]],
) -> None:
    """Write a label on a plate, moved down until it covers no other label."""
    (width, height), base = cv2.getTextSize(label, _FONT, 0.42, 1)
    x = int(np.clip(centre[0] - width // 2, 2, max(2, canvas.shape[1] - width - 6)))
    y = int(np.clip(centre[1] + height // 2, height + 4, canvas.shape[0] - base - 2))
    for _ in range(canvas.shape[0] // 4):
        box = (x - 3, y - height - 3, x + width + 3, y + base)
        if not any(_meet(box, other) for other in taken):
            break
        y = y + 4 if y + 4 < canvas.shape[0] - base else height + 4
    taken.append(box)
    cv2.rectangle(canvas, box[:2], box[2:], colour, cv2.FILLED)
    cv2.putText(canvas, label, (x, y), _FONT, 0.42, (255, 255, 255), 1, cv2.LINE_AA)


def _meet(one: tuple[int, int, int, int], two: tuple[int, int, int, int]) -> bool:
    return one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3]
