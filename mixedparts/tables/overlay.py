"""Draw masks with labels over the images of a sample, side by side.

Every image gets a panel of one height. Frame of coordinates: pixels of the panel, x to the right,
y down, unless a docstring says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mixedparts import masks
from mixedparts.masks import Rle
from mixedparts.text.lettering import Colour, text_length, write_text

ImageArray = NDArray[np.uint8]  # (H, W, 3) RGB; for masks (H, W) of 0 and 1
Box = tuple[float, float, float, float]

PANEL_HEIGHT = 320
_GAP = 12
_LETTERS = 14  # pixels
_WIDEST, _NARROWEST = 2.5, 0.45  # width of a panel in its heights; labels need space
# Labels are white text on these colours; after twenty labels the colours repeat.
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
        image: index of the image it lies in, from 0.
        label: text of the label; an empty one is not written.
        mask: on the stored pixel grid of the image.
        outlined: draw the outline only, for objects under their parts.
    """

    image: int
    label: str
    mask: Rle
    outlined: bool = False


def colours_of(labels: Sequence[str]) -> dict[str, Colour]:
    """Return one RGB colour a label, in the order in which labels first come up."""
    distinct = dict.fromkeys(labels)
    return {label: _PALETTE[at % len(_PALETTE)] for at, label in enumerate(distinct)}


def draw_sample(images: Sequence[ImageArray], marked: Sequence[Marked]) -> ImageArray:
    """Draw the regions over their images, side by side, one colour a label.

    Args:
        images: `(H, W, 3)` uint8 RGB each, on the stored pixel grid or a smaller one.
        marked: the regions of all images.

    Returns:
        `(PANEL_HEIGHT, total width, 3)` uint8 RGB on white.
    """
    gap = np.full((PANEL_HEIGHT, _GAP, 3), 255, np.uint8)
    pieces = []
    for panel in draw_panels(images, marked, PANEL_HEIGHT):
        pieces += [np.asarray(panel), gap]
    return np.hstack(pieces[:-1])


def draw_panels(
    images: Sequence[ImageArray], marked: Sequence[Marked], height: int, scale: float = 1
) -> list[Image.Image]:
    """Draw every image with its regions in a panel of its own.

    A very wide or narrow image is centred in a white panel.

    Args:
        images: `(H, W, 3)` uint8 RGB each, on the stored pixel grid or a smaller one.
        marked: the regions of all images; one label has one colour in all panels.
        height: of the panels in pixels.
        scale: of letters and lines, for panels that are printed finely.

    Returns:
        One RGB panel for each image.
    """
    colours = colours_of([item.label for item in marked])
    return [
        _panel(image, [item for item in marked if item.image == number], colours, height, scale)
        for number, image in enumerate(images)
    ]


def _panel(
    image: ImageArray,
    marked: Sequence[Marked],
    colours: Mapping[str, Colour],
    height: int,
    scale: float,
) -> Image.Image:
    """Return one image with its regions, centred in a panel of some height."""
    size, corner, frame = _fitted(image.shape[1], image.shape[0], height)
    canvas: ImageArray = np.full((frame[1], frame[0], 3), 255, np.uint8)
    inner = slice(corner[1], corner[1] + size[1]), slice(corner[0], corner[0] + size[0])
    canvas[inner] = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    shown = []
    for item in marked:
        dense: ImageArray = np.zeros(canvas.shape[:2], np.uint8)
        dense[inner] = _enlarged(item.mask, size)
        shown.append((item, dense))
    shown = [(item, dense) for item, dense in shown if dense.any()]
    # Outlined objects are drawn first, so that their lines do not cross the colours of parts.
    for item, dense in sorted(shown, key=lambda pair: not pair[0].outlined):
        if not item.outlined:
            _tint(canvas, dense, colours[item.label])
        # A white line under the coloured one separates it from an image of like colour.
        contours, _ = cv2.findContours(dense, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(canvas, contours, -1, (255, 255, 255), round(4 * scale), cv2.LINE_8)
        colour, line = colours[item.label], round(2 * scale)
        cv2.drawContours(canvas, contours, -1, colour, line, cv2.LINE_AA)
    panel = Image.fromarray(canvas)
    taken: list[Box] = []
    # Labels of filled masks sit on the masks and have less choice: they get the free places first.
    for item, dense in sorted(shown, key=lambda pair: pair[0].outlined):
        centre = _anchor(dense, item.outlined, scale)
        _write(panel, item.label, centre, colours[item.label], taken, scale)
    return panel


def _fitted(
    width: int, height: int, panel: int
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Return the size of an image in a panel, its upper left corner there, and the panel's size.

    Args:
        width: of the image in pixels.
        height: of the image in pixels.
        panel: height of the panel in pixels.

    Returns:
        Three pairs (x, y) in pixels.
    """
    scale = min(panel / height, _WIDEST * panel / width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    frame = max(size[0], round(_NARROWEST * panel)), panel
    return size, ((frame[0] - size[0]) // 2, (frame[1] - size[1]) // 2), frame


def _enlarged(mask: Rle, size: tuple[int, int]) -> ImageArray:
    """Return a mask scaled to `size` (w, h): `(h, w)` uint8 of 0 and 1."""
    # Linear interpolation and a threshold give a smooth edge; nearest neighbours give steps.
    grid = masks.decode(mask) * np.uint8(255)
    return np.asarray(cv2.resize(grid, size, interpolation=cv2.INTER_LINEAR) > 127).astype(np.uint8)


def _tint(canvas: ImageArray, dense: ImageArray, colour: Colour) -> None:
    """Mix a colour into the pixels of a mask, half and half."""
    # Only the mask's box is touched: most parts cover a small piece of the panel.
    x, y, width, height = cv2.boundingRect(dense)
    box = slice(y, y + height), slice(x, x + width)
    part = np.ascontiguousarray(canvas[box])
    mixed = cv2.addWeighted(part, 0.5, np.full_like(part, colour), 0.5, 0)
    canvas[box] = cv2.copyTo(mixed, np.ascontiguousarray(dense[box]), part)


def _anchor(dense: ImageArray, outlined: bool, scale: float) -> tuple[int, int]:
    """Return the (x, y) of a label: above an outline, or at the innermost point of a mask."""
    left, top, width, height = cv2.boundingRect(dense)
    if outlined:
        return left + width // 2, max(round(10 * scale), top - round(10 * scale))
    # The innermost point is farthest from the background. The border of background pixels makes
    # the edge of the box count as an edge of the mask.
    inside = np.pad(dense[top : top + height, left : left + width], 1)
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
    y, x = np.unravel_index(int(distance.argmax()), distance.shape)
    return left + int(x) - 1, top + int(y) - 1


def _write(
    panel: Image.Image,
    label: str,
    centre: tuple[int, int],
    colour: Colour,
    taken: list[Box],
    scale: float,
) -> None:
    """Write a label on a coloured plate, moved up or down to a free place, and note its box."""
    if not label:
        return
    letters, inset = round(_LETTERS * scale), round(5 * scale)
    width, height = text_length(label, letters) + 2 * inset, round(20 * scale)
    most_left, most_down = panel.width - width - 2, panel.height - height - 2
    left = min(max(centre[0] - width / 2, 2), max(2, most_left))
    # If no shift is free, the last one is used: a label on another one is better than none.
    for shift in (0, -1, 1, -2, 2, -3, 3, -4, 4):
        top = min(max(centre[1] - height / 2 + shift * (height + 1), 2), most_down)
        box = (left, top, left + width, top + height)
        if not any(_meet(box, other) for other in taken):
            break
    taken.append(box)
    pen = ImageDraw.Draw(panel)
    pen.rounded_rectangle(box, inset, fill=colour, outline="white", width=1)
    write_text(panel, (left + inset, top + height / 2), label, letters, "white", middle=True)


def _meet(one: Box, two: Box) -> bool:
    return one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3]
