"""How one image is shown: which box of it, mirrored or not, in which colours.

A view is first cut, then mirrored; masks and pixels go the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance


class Box(NamedTuple):
    """Whole pixels of the stored grid; `right` and `bottom` are outside."""

    left: int
    top: int
    right: int
    bottom: int


class Tint(NamedTuple):
    """Factors of a picture's colours, 1 leaves them as they are."""

    brightness: float
    contrast: float
    saturation: float


@dataclass(frozen=True, slots=True)
class View:
    """One way to show an image.

    Attributes:
        mirrored: left to right.
        box: what is shown of it, None for all.
        tint: of its colours, None for its own.
    """

    mirrored: bool = False
    box: Box | None = None
    tint: Tint | None = None

    @property
    def whole(self) -> bool:
        """Whether all of the picture is shown in its own colours, mirrored or not."""
        return self.box is None and self.tint is None

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of what is shown of an image of this size."""
        box = self.box or Box(0, 0, width, height)
        return box.bottom - box.top, box.right - box.left

    def mask(self, dense: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the shown part (h, w) of a dense mask (H, W), pixel by pixel."""
        if self.box is not None:
            dense = dense[self.box.top : self.box.bottom, self.box.left : self.box.right]
        return np.ascontiguousarray(dense[:, ::-1] if self.mirrored else dense)

    def picture(self, picture: Image.Image) -> Image.Image:
        """Return the box of an RGB picture in the view's colours, not mirrored yet."""
        if self.box is not None:
            picture = picture.crop(self.box)
        if self.tint is not None:
            picture = ImageEnhance.Brightness(picture).enhance(self.tint.brightness)
            picture = ImageEnhance.Contrast(picture).enhance(self.tint.contrast)
            picture = ImageEnhance.Color(picture).enhance(self.tint.saturation)
        return picture


PLAIN = View()
