"""Views: one way to show an image, as a box of it, mirrored or not, with changed colours.

A view is first cropped, then mirrored. Masks and pixels take the same steps, so they stay aligned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance


class Box(NamedTuple):
    """A box in pixels of the stored image; `right` and `bottom` are exclusive."""

    left: int
    top: int
    right: int
    bottom: int


class Tint(NamedTuple):
    """Factors of an image's colours; 1 changes nothing."""

    brightness: float
    contrast: float
    saturation: float


@dataclass(frozen=True, slots=True)
class View:
    """One way to show an image.

    Attributes:
        mirrored: whether left and right are exchanged.
        box: the part of the image that is shown, None for all of it.
        tint: factors of its colours, None for no change.
        global_box: the part of what is shown that the global encoder sees, None for all of it;
            the other encoders and the masks do not follow it.
    """

    mirrored: bool = False
    box: Box | None = None
    tint: Tint | None = None
    global_box: Box | None = None

    @property
    def whole(self) -> bool:
        """Whether every encoder sees all of the image in its own colours, mirrored or not."""
        return self.whole_for("vision")

    def whole_for(self, part: str) -> bool:
        """Return `whole` for one encoder: "vision", "semantic" or "sam"."""
        cut = part == "vision" and self.global_box is not None
        return self.box is None and self.tint is None and not cut

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width in pixels of the shown part of an image of this size."""
        box = self.box or Box(0, 0, width, height)
        return box.bottom - box.top, box.right - box.left

    def mask(self, dense: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the shown part (h, w) uint8 of a dense mask (H, W) uint8."""
        if self.box is not None:
            dense = dense[self.box.top : self.box.bottom, self.box.left : self.box.right]
        # A mirrored slice has negative strides, which `torch.from_numpy` refuses.
        return np.ascontiguousarray(dense[:, ::-1] if self.mirrored else dense)

    def crop_and_tint(self, image: Image.Image) -> Image.Image:
        """Return the box of an RGB image in the view's colours, not mirrored yet."""
        if self.box is not None:
            image = cropped(image, self.box)
        if self.tint is not None:
            # Each step clips to 0..255, so the order of the three changes the result.
            image = ImageEnhance.Brightness(image).enhance(self.tint.brightness)
            image = ImageEnhance.Contrast(image).enhance(self.tint.contrast)
            image = ImageEnhance.Color(image).enhance(self.tint.saturation)
        return image


PLAIN = View()


def cropped(image: Image.Image, box: Box) -> Image.Image:
    """Return a box of an image."""
    # Not `Image.crop`, which warns of boxes above a limit that is Pillow's own.
    pixels = np.asarray(image)[box.top : box.bottom, box.left : box.right]
    return Image.fromarray(np.ascontiguousarray(pixels))
