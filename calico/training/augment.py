"""Random views of images, in which every mask of a sample stays whole."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from calico.config.calico import AugmentConfig
from calico.dataset.views import Box, Tint, View
from mixedparts.masks import Rle, bbox

DRAWS = 8  # random numbers of one view: crop or not, four of its box, three of its colours
# Largest factor between the aspect ratios of a box and of its image, or of a square.
_SHAPES = 4 / 3
_TRIES = 10  # random boxes that are tried before the one in the middle


def random_view(
    config: AugmentConfig,
    mirrored: bool,
    size: tuple[int, int],
    regions: Sequence[Rle],
    draws: NDArray[np.float64],
) -> View:
    """Return a random view of an image.

    Args:
        config: probability and strength of each augmentation.
        mirrored: whether the view is mirrored.
        size: height and width of the image in pixels.
        regions: masks that the view must show whole.
        draws: (DRAWS,) uniform in [0, 1).

    Returns:
        The view; its box is None where the image is not cropped.
    """
    # The objects are among the regions, and parts lie on their objects. A view that holds whole
    # objects shows the same parts as the image, so the answer stays true.
    box = tint = None
    if draws[0] < config.crop:
        box = random_box(size, regions, config.crop_share, draws[1:5])
    # Every view has its own numbers, used or not: switching one augmentation on does not change
    # the others.
    if config.colour:
        tint = Tint(*(1 + config.colour * (2 * draws[5:8] - 1)).tolist())
    return View(mirrored, box, tint)


def random_box(
    size: tuple[int, int], regions: Sequence[Rle], share: float, draws: NDArray[np.float64]
) -> Box:
    """Return a random box that contains all regions.

    Args:
        size: height and width of the image in pixels.
        regions: masks in it.
        share: smallest share of its area that the box covers.
        draws: (4,) uniform in [0, 1), for area, aspect ratio, column and row.

    Returns:
        The box in pixels of the image.
    """
    height, width = size
    area = share + (1 - share) * float(draws[0])
    # Beyond these aspect ratios one side would be longer than the image's. Between them the ratio
    # is uniform in its logarithm, so wide and tall boxes are equally frequent.
    low, high = max(1 / _SHAPES, area), min(_SHAPES, 1 / area)
    shape = low * (high / low) ** draws[1]
    left, top, right, bottom = _extent(regions, height, width)
    # A box that is too small for the regions grows; then it is placed so that it holds them and
    # stays inside the image.
    columns = max(right - left, min(width, math.ceil(width * math.sqrt(area * shape))))
    rows = max(bottom - top, min(height, math.ceil(height * math.sqrt(area / shape))))
    x = _between(max(0, right - columns), min(left, width - columns), draws[2])
    y = _between(max(0, bottom - rows), min(top, height - rows), draws[3])
    return Box(x, y, x + columns, y + rows)


def global_box(size: tuple[int, int], share: float, rng: Generator) -> Box:
    """Return a random box that the global encoder sees alone.

    As torchvision's `RandomResizedCrop`, which the fork's `Blip2ImageTrainProcessor` has: the area
    is uniform, the logarithm of the aspect ratio as well, between 3:4 and 4:3.

    Args:
        size: height and width of what is shown, in pixels.
        share: smallest share of the area.
        rng: source of the random numbers.

    Returns:
        The box in pixels of what is shown.
    """
    height, width = size
    for _ in range(_TRIES):
        area = height * width * rng.uniform(share, 1)
        shape = math.exp(rng.uniform(-math.log(_SHAPES), math.log(_SHAPES)))
        columns, rows = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < columns <= width and 0 < rows <= height:
            top = int(rng.integers(height - rows + 1))
            left = int(rng.integers(width - columns + 1))
            return Box(left, top, left + columns, top + rows)
    # An elongated image often has no such box: then the middle, as much of it as the ratios allow.
    columns = min(width, max(1, round(height * _SHAPES)))
    rows = min(height, max(1, round(width * _SHAPES)))
    left, top = (width - columns) // 2, (height - rows) // 2
    return Box(left, top, left + columns, top + rows)


def _extent(regions: Sequence[Rle], height: int, width: int) -> Box:
    """Return the smallest box around all regions; one pixel in the middle where there are none."""
    boxes = np.array([bbox(region) for region in regions], np.int64)
    boxes = boxes.reshape(-1, 4)
    boxes = boxes[boxes[:, 2] > 0]  # an empty mask has a box of width 0
    if not len(boxes):
        return Box(width // 2, height // 2, width // 2 + 1, height // 2 + 1)
    corners = boxes[:, :2] + boxes[:, 2:]
    return Box(*boxes[:, :2].min(0).tolist(), *corners.max(0).tolist())


def _between(low: int, high: int, draw: float) -> int:
    """Return a whole number in low..high."""
    return low + int(draw * (high - low + 1))
