"""Segmentation maps: PNG files whose pixel values are ids."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedparts.images.checks import decoding_fault
from mixedparts.images.opening import UnreadableImage, decode, opened

# Modes of Pillow. The values of `P` are indices into a palette, which only viewers need.
EIGHT_BIT = ("L", "P")
SIXTEEN_BIT = ("I;16",)
COLOUR = ("RGB",)


class UnusableMap(ValueError):
    """A segmentation map that is missing, does not decode, or has another size or depth."""


def read_label_map(path: Path, width: int, height: int, modes: Collection[str]) -> NDArray[Any]:
    """Return the pixel values of a segmentation map.

    Args:
        path: the PNG file.
        width: of its image, in pixels.
        height: of its image, in pixels.
        modes: the modes of Pillow to accept: `EIGHT_BIT`, `SIXTEEN_BIT` or `COLOUR`.

    Returns:
        (H, W) uint8 or uint16, or (H, W, 3) uint8, on the stored grid of the image.

    Raises:
        UnusableMap: it cannot be used, with the reason for people.
    """
    # A pipe of this name is no file either; reading it would wait until somebody writes to it.
    if not os.path.isfile(path):
        raise UnusableMap(f"no file {path.name}")
    try:
        with opened(path.read_bytes(), ("PNG",)) as labels:
            # A map in another mode, such as RGB, would need a rule to become ids: it is refused.
            if labels.mode not in modes:
                raise UnusableMap(f"{path.name} has mode {labels.mode}, not {' or '.join(modes)}")
            if labels.size != (width, height):
                size = f"{labels.size[0]} x {labels.size[1]}"
                raise UnusableMap(f"{path.name} is {size}, its image {width} x {height}")
            decode(labels)
            return np.asarray(labels)
    except (OSError, UnreadableImage) as error:
        raise UnusableMap(decoding_fault(path, error)) from error
