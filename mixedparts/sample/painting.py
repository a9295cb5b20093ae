"""Paints a map of shapes: colours, patterns, light, background, camera blur and noise."""

from __future__ import annotations

import colorsys
import io

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from mixedparts.sample.scene import Actor

Pixels = NDArray[np.float32]

# Typical colours of a role as (hue, saturation, value); each object jitters them, and one in five
# takes any colour instead, so that no colour tells a part's name.
_ROLES: dict[str, tuple[float, float, float]] = {
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
    """Paint a picture.

    Args:
        labels: (H, W) map, 0 for background, else 1 + index of the shape among all actors' shapes.

    Returns:
        (H, W, 3) uint8 RGB. The camera blur is half a pixel wide: colours, not masks, are soft.
    """
    height, width = labels.shape
    ground = rng.uniform(0.35, 0.75)
    colours = _shape_colours(actors, ground, rng)
    count = len(colours)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    image = colours[labels]
    background = _background(rng, height, width, ground)
    empty = labels == 0
    image[empty] = background[empty]
    wave = rng.uniform(0.25, 0.9, size=(2, count)).astype(np.float32)
    strength = np.where(rng.random(count) < 0.35, rng.uniform(0.03, 0.1, count), 0.0)
    strength = strength.astype(np.float32)
    strength[0] = 0.0
    tone = strength[labels] * np.sin(wave[0][labels] * x + wave[1][labels] * y)
    angle = rng.uniform(0, 2 * np.pi)
    light = (np.cos(angle) * (x / width - 0.5) + np.sin(angle) * (y / height - 0.5)).astype(
        np.float32
    )
    tone += 1.0 + rng.uniform(0.1, 0.35) * light + 0.05 * _soft_noise(rng, height, width, 12)
    tone *= _outlines(labels)
    image *= tone[..., None]
    image = cv2.GaussianBlur(image, (3, 3), 0.55)
    image += rng.normal(0, rng.uniform(0.008, 0.02), size=image.shape).astype(np.float32)
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """Return the picture as a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def _shape_colours(actors: tuple[Actor, ...], ground: float, rng: Generator) -> Pixels:
    rows = [(0.0, 0.0, 0.0)]
    for actor in actors:
        palette = _palette(actor, ground, rng)
        for shape in actor.shapes:
            rows.append(tuple(channel * shape.shade for channel in palette[shape.role]))
    return np.asarray(rows, dtype=np.float32)


def _palette(actor: Actor, ground: float, rng: Generator) -> dict[str, tuple[float, float, float]]:
    hue = actor.subject.hue if actor.subject is not None else None
    hue = rng.random() if hue is None else hue + rng.uniform(-0.03, 0.03)
    if actor.subject is None:
        value = float(np.clip(ground + rng.uniform(-0.25, 0.25), 0.2, 0.9))
        return {"clutter": colorsys.hsv_to_rgb(hue, rng.uniform(0.1, 0.45), value)}
    value = (
        rng.uniform(0.6, 0.95) if ground < 0.55 else rng.choice([0.3, 0.95]) * rng.uniform(0.9, 1)
    )
    second = hue + rng.choice([0.0, 0.08, 0.5]) + rng.uniform(-0.04, 0.04)
    palette = {
        "main": colorsys.hsv_to_rgb(hue % 1, rng.uniform(0.5, 0.9), value),
        "second": colorsys.hsv_to_rgb(second % 1, rng.uniform(0.3, 0.8), rng.uniform(0.4, 0.95)),
        "third": colorsys.hsv_to_rgb(
            (hue + rng.uniform(-0.1, 0.1)) % 1, rng.uniform(0.4, 0.9), rng.uniform(0.45, 0.95)
        ),
    }
    for role, (h, s, v) in _ROLES.items():
        if rng.random() < 0.12 and role not in ("black", "lamp"):
            h, s = rng.random(), rng.uniform(0.2, 0.7)
        jitter = rng.uniform(-1, 1, size=3)
        palette[role] = colorsys.hsv_to_rgb(
            (h + 0.05 * jitter[0]) % 1,
            float(np.clip(s + 0.12 * jitter[1], 0, 1)),
            float(np.clip(v + 0.1 * jitter[2], 0.05, 1)),
        )
    return palette


def _background(rng: Generator, height: int, width: int, ground: float) -> Pixels:
    """Return two soft areas, wall and floor or sky and ground, with a low-contrast texture."""
    colours = [
        colorsys.hsv_to_rgb(
            rng.random(), rng.uniform(0.05, 0.3), float(np.clip(ground + d, 0.2, 0.9))
        )
        for d in (0.06, -0.06)
    ]
    line = rng.uniform(0.45, 0.85) * height if rng.random() < 0.7 else 0.0
    rows = np.arange(height, dtype=np.float32)[:, None, None]
    mix = np.clip((rows - line) / 3, 0, 1)
    area = np.asarray(colours[0], np.float32) * (1 - mix) + np.asarray(colours[1], np.float32) * mix
    texture = 0.06 * _soft_noise(rng, height, width, 5) + 0.03 * _soft_noise(rng, height, width, 40)
    return np.asarray(area + texture[..., None], dtype=np.float32)


def _soft_noise(rng: Generator, height: int, width: int, cells: int) -> Pixels:
    coarse = rng.uniform(-1, 1, size=(cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def _outlines(labels: NDArray[np.int16]) -> Pixels:
    """Return a factor that darkens the rim of every shape a little, as a pencil would."""
    rim = np.ones(labels.shape, dtype=np.float32)
    across = labels[:, 1:] != labels[:, :-1]
    down = labels[1:] != labels[:-1]
    for step, view in ((across, rim[:, 1:]), (down, rim[1:])):
        view[step] = 0.72
    return rim
