"""The one rule that turns pixels of every kind into RGB with 8 bits a channel.

Wide grey is scaled, never clipped: 16 bits to v * 255 / 65535, floats in [0, 1] to v * 255, other
ranges linearly from their least to their greatest value. Alpha is dropped, never mixed with a
background. `docs/images.md` has the rule of every mode.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Modes that Pillow's own conversion handles as numpy's formulas would. Not LAB, whose conversion
# depends on how Pillow was built.
_DIRECT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV")
_WIDE_GREY = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")
MODES = (*_DIRECT, *_WIDE_GREY)
# 257 = 65535 / 255, an odd number, so that no value lies half-way between two results.
_EIGHT_OF_SIXTEEN = ((np.arange(65536) + 128) // 257).astype(np.uint8)
_EIGHT_OF_TWELVE = np.rint(np.arange(4096) * (255 / 4095)).astype(np.uint8)
# Tags of TIFF: whether 0 is white, bits of a sample, and how a sample is to be read.
_PHOTOMETRIC, _BITS, _SAMPLE_FORMAT = 262, 258, 339
_WHITE_IS_ZERO, _UNSIGNED = 0, 1


def rgb_of(image: Image.Image) -> Image.Image:
    """Return an image as RGB on the same grid, in new memory and without metadata.

    Args:
        image: of one of the modes in `MODES`; its pixels are read if they are not yet.

    Raises:
        ValueError: the image has another mode.
    """
    if image.mode not in MODES:
        raise ValueError(f"pixels of mode {image.mode} have no rule to become RGB")
    image.load()
    if image.mode in _WIDE_GREY:
        rgb = Image.fromarray(_grey(image)).convert("RGB")
    else:
        # A palette whose entries have an alpha each would make Pillow warn that RGB drops it.
        if "transparency" in image.info:
            image = image.copy()
            del image.info["transparency"]
        rgb = image.convert("RGB")
    # The orientation must not travel on: the pixels are on the stored grid, as masks are.
    rgb.info.clear()
    return rgb


def eight_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return numbers of any range as 0 to 255, of the same shape.

    Args:
        values: bool becomes 0 and 255. uint8 stays. Other integers from 0 to 65535 are taken for 16
            bits, floats from 0 to 1 for shares of white; every other range is spread from its least
            to its greatest value. NaN and infinity become 0 and count for no range. An array with
            one value only is clipped to 0..65535, or 0..1.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype == np.uint16:
        return np.asarray(_EIGHT_OF_SIXTEEN[values])
    finite = np.isfinite(values)
    known = values if finite.all() else values[finite]
    if known.size == 0:
        return np.zeros(values.shape, np.uint8)
    low, high = float(known.min()), float(known.max())
    white = 1.0 if values.dtype.kind == "f" else 65535.0
    wide = np.where(finite, values, low).astype(np.float64)
    if (low >= 0 and high <= white) or low == high:
        shares = np.clip(wide, 0, white) / white
    else:
        # Halves, because the difference of two huge floats is infinite.
        shares = (wide / 2 - low / 2) / (high / 2 - low / 2)
    return np.where(finite, np.rint(shares * 255), 0).astype(np.uint8)


def _grey(image: Image.Image) -> NDArray[np.uint8]:
    """Return a loaded image of a wide mode as (H, W) uint8."""
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    values = np.asarray(image)
    bits = tags.get(_BITS, (16,))[0]
    if image.mode == "I" and bits == 32 and tags.get(_SAMPLE_FORMAT, (1,))[0] == _UNSIGNED:
        # Pillow reads unsigned samples of 32 bits into signed ones: large values turn negative.
        values = values.view(np.uint32)
    if image.mode.startswith("I;16"):
        values = values.astype(np.uint16)
    # A TIFF of 12 bits a sample has values up to 4095, which are its white.
    grey = _EIGHT_OF_TWELVE[values & 4095] if bits == 12 else eight_bits(values)
    # Pillow inverts grey of 8 bits where 0 means white, but not wider grey.
    if tags and tags.get(_PHOTOMETRIC, _WHITE_IS_ZERO) == _WHITE_IS_ZERO:
        grey = np.uint8(255) - grey
    return np.asarray(grey)
