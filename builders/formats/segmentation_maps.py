"""Label maps: PNG files whose pixel values are ids."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mixedparts.images.checks import decoding_fault

EIGHT_BIT = ("L", "P")  # grey values, or indices into a palette that only viewers need
SIXTEEN_BIT = ("I;16",)


class UnusableMap(ValueError):
    """A label map that is missing, does not decode, or has another size or depth."""


def read_label_map(path: Path, width: int, height: int, modes: Collection[str]) -> NDArray[Any]:
    """Return the (H, W) values of a label map; uint8 or uint16 as `modes` (PIL names) ask.

    Raises:
        UnusableMap: with the reason, for people.
    """
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            if picture.mode not in modes:
                raise UnusableMap(f"{path.name} has mode {picture.mode}, not {' or '.join(modes)}")
            if picture.size != (width, height):
                found = f"{picture.size[0]} x {picture.size[1]}"
                raise UnusableMap(f"{path.name} is {found}, its image {width} x {height}")
            return np.asarray(picture)
    except UnusableMap:
        raise
    except FileNotFoundError:
        raise UnusableMap(f"no file {path.name}") from None
    except Exception as error:  # a decoder given broken bytes may raise anything
        raise UnusableMap(decoding_fault(path, error)) from error
