"""Paint a map of shapes: colours, patterns, light, background, camera blur and noise.

Colours are float32 RGB in [0, 1] until the last step. The order of the calls of `rng` is part of
the output: another order changes every image.

OpenCV's filters of float32 values round differently from version to version and from CPU to CPU.
Here they get whole numbers below 2^24, of which float32 sums are exact in any order.
"""

from __future__ import annotations

import colorsys
import io

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from mixedparts.synthetic.scene import Actor

Pixels = NDArray[np.float32]
Colour = tuple[float, float, float]

# Typical colours of a role as (hue, saturation, value). Each object varies them, and one in eight
# takes any hue instead, so that a model cannot learn a part's name from its colour.
_ROLES: dict[str, Colour] = {
    "dark": (0.6, 0.15, 0.22),
    "tyre": (0.6, 0.1, 0.2),
    "black": (0.6, 0.1, 0.1),
    "light": (0.15, 0.1, 0.95),
    "lamp": (0.14, 0.35, 0.98),
    "glass": (0.55, 0.3, 0.75),
    "metal": (0.58, 0.06, 0.68),
    "spokes": (0.58, 0.05, 0.8),
    "wood": (0.08, 0.55, 0.55),
    "beak": (0.1, 0.8, 0.85),
    "red": (0.0, 0.75, 0.75),
    "sail": (0.12, 0.08, 0.95),
}


def paint(
    labels: NDArray[np.int16], actors: tuple[Actor, ...], rng: Generator
) -> NDArray[np.uint8]:
    """Paint an image.

    Args:
        labels: `(H, W)` int16, 0 for background, else 1 + index of the shape among all shapes of
            all actors.
        actors: from back to front.
        rng: random stream of the image.

    Returns:
        `(H, W, 3)` uint8 RGB. The camera blur of half a pixel softens colours; masks stay sharp.
    """
    height, width = labels.shape
    ground = float(rng.uniform(0.35, 0.85))
    colours, strength, wave = _looks(actors, ground, rng)
    background = _background(rng, height, width, ground)
    background *= _rgb_planes(_shadow(labels, rng))
    # One gather by label colours all shapes at once.
    image = colours.take(labels, axis=0)
    cv2.copyTo(background, (labels == 0).astype(np.uint8), image)
    # Light falls off linearly in a random direction, 1 in the middle of the image.
    y = np.arange(height, dtype=np.float32)[:, None]
    x = np.arange(width, dtype=np.float32)[None, :]
    angle = rng.uniform(0, 2 * np.pi)
    slope = rng.uniform(0.1, 0.35) * np.array([np.cos(angle) / width, np.sin(angle) / height])
    right, down = slope.astype(np.float32)
    # Python numbers here: NumPy 1 and 2 give a float32 scalar times an integer another dtype.
    corner = np.float32(1 - float(right) * width / 2 - float(down) * height / 2)
    tone = corner + right * x + down * y
    tone = tone + 0.05 * _soft_noise(rng, height, width, 12)
    # Patterns are sine waves; a shape without a pattern has strength 0.
    if strength.any():
        phase = wave[0].take(labels) * x + wave[1].take(labels) * y
        # In float64, whose last digits float32 does not see: sines of float32 depend on the CPU.
        wave_tone = np.sin(phase, dtype=np.float64).astype(np.float32)
        tone += strength.take(labels) * wave_tone
    tone *= _outlines(labels)
    image *= _rgb_planes(tone)
    image = _softened(image)
    # One noise for the three channels, as of a camera's brightness.
    noise = rng.standard_normal((height, width), dtype=np.float32)
    image += _rgb_planes(np.float32(rng.uniform(0.008, 0.02)) * noise)
    return np.asarray(np.clip(image * 255, 0, 255), dtype=np.uint8)


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """Return `(H, W, 3)` uint8 RGB pixels as the bytes of a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def _looks(
    actors: tuple[Actor, ...], ground: float, rng: Generator
) -> tuple[Pixels, Pixels, Pixels]:
    """Return the colour and pattern of every shape; row 0 is the background.

    Shapes of one role of one actor share the pattern.

    Returns:
        `(N, 3)` RGB in [0, 1], `(N,)` strengths and `(2, N)` waves in radians a pixel.
    """
    colours, patterns = [(0.0, 0.0, 0.0)], [(0.0, 0.0, 0.0)]
    for actor in actors:
        palette = _palette(actor, ground, rng)
        drawn: dict[str, tuple[float, float, float]] = {}
        for shape in actor.shapes:
            if shape.role not in drawn:
                strong = rng.uniform(0.04, 0.1) if rng.random() < 0.25 else 0.0
                drawn[shape.role] = strong, rng.uniform(0.2, 1.0), rng.uniform(-0.8, 0.8)
            red, green, blue = palette[shape.role]
            colours.append((red * shape.shade, green * shape.shade, blue * shape.shade))
            patterns.append(drawn[shape.role])
    strength, *wave = np.asarray(patterns, dtype=np.float32).T
    return np.asarray(colours, np.float32), strength, np.asarray(wave, np.float32)


def _palette(actor: Actor, ground: float, rng: Generator) -> dict[str, Colour]:
    """Return a colour for each role of an actor on a ground of some brightness."""
    if actor.subject is None:
        value = float(np.clip(ground + rng.uniform(-0.25, 0.25), 0.2, 0.9))
        return {"clutter": _rgb(rng.random(), rng.uniform(0.1, 0.45), value)}
    typical = actor.subject.hue
    if typical is not None and rng.random() < actor.subject.typical:
        hue = typical + rng.uniform(-0.035, 0.035)
    else:
        hue = rng.random()
    # Bright on dark ground, dark or very bright on bright ground: objects stand out.
    bright = ground < 0.55 or rng.random() < 0.35
    value = rng.uniform(0.7, 1.0) if bright else rng.uniform(0.25, 0.5)
    second = hue + rng.choice([0.0, 0.08, 0.5]) + rng.uniform(-0.04, 0.04)
    third = hue + rng.uniform(-0.1, 0.1)
    palette = {
        "main": _rgb(hue, rng.uniform(0.5, 0.9), value),
        "second": _rgb(second, rng.uniform(0.3, 0.8), rng.uniform(0.4, 0.95)),
        "third": _rgb(third, rng.uniform(0.4, 0.9), rng.uniform(0.45, 0.95)),
    }
    for role, (h, s, v) in _ROLES.items():
        if rng.random() < 0.12 and role not in ("black", "lamp"):
            h, s = rng.random(), rng.uniform(0.2, 0.7)
        jitter = rng.uniform(-1, 1, size=3)
        palette[role] = _rgb(h + 0.05 * jitter[0], s + 0.12 * jitter[1], v + 0.1 * jitter[2])
    return palette


def _rgb(hue: float, saturation: float, value: float) -> Colour:
    """Return RGB in [0, 1] of any hue, saturation and value, brought into their ranges."""
    saturation, value = min(max(saturation, 0.0), 1.0), min(max(value, 0.05), 1.0)
    return colorsys.hsv_to_rgb(hue % 1.0, saturation, value)


def _shadow(labels: NDArray[np.int16], rng: Generator) -> Pixels:
    """Return an `(H, W)` factor that darkens the ground beside and below objects."""
    right, down = round(16 * rng.uniform(-4, 4)), round(16 * rng.uniform(2, 5))
    # Moved by sixteenths of a pixel, as a mean of two neighbours on either axis: 256 where solid.
    cast = _moved(_moved((labels != 0).astype(np.float32), down).T, right).T
    # Three boxes are close to a Gaussian of sigma 3. Their sums stay below 256 * 245^2 < 2^24.
    for side in (7, 5, 7):
        summed = cv2.boxFilter(np.ascontiguousarray(cast), -1, (side, side), normalize=False)
        cast = np.asarray(summed, np.float32)
    return np.asarray(1 - np.float32(rng.uniform(0.2, 0.45)) * (cast / np.float32(256 * 245**2)))


def _moved(plane: Pixels, sixteenths: int) -> Pixels:
    """Return 16 times an `(H, W)` plane, moved down by up to 5 pixels or up; 0 comes in."""
    whole, part = divmod(sixteenths, 16)
    padded = np.pad(plane, ((6, 6), (0, 0)))
    near, far = (padded[6 - step : 6 - step + len(plane)] for step in (whole, whole + 1))
    return np.asarray(np.float32(16 - part) * near + np.float32(part) * far)


def _softened(image: Pixels) -> Pixels:
    """Return `(H, W, 3)` RGB blurred as a camera does, with a sigma of 0.55 pixels."""
    # 1,024 levels times the sum of the weights squared: below 2^24 up to a brightness of 4.
    levels = np.rint(image * np.float32(1024))
    weights = np.array([9, 46, 9], np.float32)
    blurred = cv2.sepFilter2D(levels, -1, weights, weights)
    return np.asarray(blurred / np.float32(1024 * 64 * 64), dtype=np.float32)


def _background(rng: Generator, height: int, width: int, ground: float) -> Pixels:
    """Return `(H, W, 3)` RGB: one or two plain areas with a low-contrast texture."""
    colours = [
        _rgb(rng.random(), rng.uniform(0.05, 0.3), min(ground + step, 0.95))
        for step in (0.06, -0.06)
    ]
    # A line above the image leaves one area only.
    line = rng.uniform(0.45, 0.85) * height if rng.random() < 0.7 else -4.0
    rows = np.arange(height, dtype=np.float32)[:, None, None]
    mix = np.clip((rows - line) / 3, 0, 1)
    area = np.asarray(colours[0], np.float32) * (1 - mix) + np.asarray(colours[1], np.float32) * mix
    texture = 0.06 * _soft_noise(rng, height, width, 5) + 0.03 * _soft_noise(rng, height, width, 40)
    return _rgb_planes(texture) + area.astype(np.float32)


def _rgb_planes(plane: Pixels) -> Pixels:
    """Return an `(H, W)` plane as three equal channels; faster than broadcasting in NumPy."""
    return np.asarray(cv2.merge([plane, plane, plane]), dtype=np.float32)


def _soft_noise(rng: Generator, height: int, width: int, cells: int) -> Pixels:
    """Return `(height, width)` smooth noise of about -1 to 1, from `cells` values a side."""
    coarse = rng.uniform(-1, 1, size=(cells, cells)).astype(np.float32)
    return _enlarged(_enlarged(coarse.T, width).T, height)


def _enlarged(plane: Pixels, height: int) -> Pixels:
    """Return `(height, W)` of an `(H, W)` plane, by cubic interpolation of its rows."""
    places = (np.arange(height) + 0.5) * (len(plane) / height) - 0.5
    first = np.floor(places)
    t = places - first
    # The cubic of four neighbours with a = -0.75. Edges are repeated.
    outer = [-0.75 * s * (1 - s) ** 2 for s in (t, 1 - t)]
    inner = [1 - 2.25 * s**2 + 1.25 * s**3 for s in (t, 1 - t)]
    result = np.zeros((height, plane.shape[1]), np.float32)
    for step, weight in enumerate((outer[0], *inner, outer[1]), start=-1):
        rows = np.clip(first.astype(int) + step, 0, len(plane) - 1)
        result += weight.astype(np.float32)[:, None] * plane[rows]
    return result


def _outlines(labels: NDArray[np.int16]) -> Pixels:
    """Return an `(H, W)` factor that darkens the rim of every shape, as a pencil line does."""
    rim = np.ones(labels.shape, dtype=np.float32)
    across = labels[:, 1:] != labels[:, :-1]
    down = labels[1:] != labels[:-1]
    for step, view in ((across, rim[:, 1:]), (down, rim[1:])):
        view[step] = 0.72
    return rim
