"""Small images of noise."""

from __future__ import annotations

import numpy as np
from PIL import Image


def noise_image(seed: int = 0, height: int = 33) -> Image.Image:
    """Return an image 41 pixels wide that follows from the seed."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 255, (height, 41, 3), dtype=np.uint8))


def noise_images(count: int) -> tuple[Image.Image, ...]:
    """Return distinct images, each three rows higher than the one before."""
    return tuple(noise_image(number, 30 + 3 * number) for number in range(count))
