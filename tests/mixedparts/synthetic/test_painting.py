"""Filters against plain computations, and painted images with recorded values."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import pytest
import shapely

from mixedparts.synthetic.painting import jpeg, paint
from mixedparts.synthetic.scene import Actor
from mixedparts.synthetic.shapes import Shape
from mixedparts.synthetic.vocabulary import subjects

HEIGHT, WIDTH = 90, 120


def painted(seed: int) -> np.ndarray:
    """Paint an object of two shapes and a piece of clutter."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    labels = np.zeros((HEIGHT, WIDTH), np.int16)
    labels[np.hypot(y - 40, x - 50) < 28] = 1
    labels[20:34, 40:61] = 2
    labels[(x - y > 60) & (x - y < 68)] = 3
    subject = subjects("paco")[0]
    nothing = shapely.Polygon()
    shapes = (Shape("", nothing), Shape("", nothing, "second", 0.9))
    actors = (
        Actor(subject, subject.keys[0], shapes, nothing),
        Actor(None, "", (Shape("", nothing, "clutter"),), nothing),
    )
    return paint(labels, actors, np.random.Generator(np.random.Philox(seed)))


def test_images_are_the_recorded_ones() -> None:
    """The same under every allowed version of OpenCV, NumPy and Pillow, and on every CPU."""
    images = [painted(seed) for seed in range(12)]
    pixels = hashlib.sha256(b"".join(image.tobytes() for image in images))
    assert pixels.hexdigest()[:16] == "0b6640671ccf4ebb"
    files = hashlib.sha256(b"".join(jpeg(image) for image in images))
    assert files.hexdigest()[:16] == "54c56ba29cf15aa7"


@pytest.mark.parametrize(("height", "width", "cells"), [(90, 120, 5), (61, 33, 40), (4, 7, 12)])
def test_noise_is_a_cubic_surface(height: int, width: int, cells: int) -> None:
    from mixedparts.synthetic.painting import _soft_noise

    found = _soft_noise(np.random.default_rng(3), height, width, cells)
    coarse = np.random.default_rng(3).uniform(-1, 1, size=(cells, cells)).astype(np.float32)
    near = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    assert (found.shape, found.dtype) == ((height, width), np.float32)
    np.testing.assert_allclose(found, near, atol=1e-5)


def test_the_camera_blurs_by_half_a_pixel() -> None:
    from mixedparts.synthetic.painting import _softened

    image = np.random.default_rng(4).random((30, 40, 3), np.float32) * 1.5
    near = cv2.GaussianBlur(image, (3, 3), 0.55)
    assert np.abs(_softened(image) - near).max() < 0.01
    np.testing.assert_array_equal(_softened(np.ones((5, 6, 3), np.float32)), 1)


def test_shadows_lie_below_objects_and_are_soft() -> None:
    from mixedparts.synthetic.painting import _shadow

    labels = np.zeros((60, 60), np.int16)
    labels[20:40, 20:40] = 1
    for seed in range(5):
        rng = np.random.Generator(np.random.Philox(seed))
        factor = _shadow(labels, rng)
        rng = np.random.Generator(np.random.Philox(seed))
        right, down, depth = rng.uniform(-4, 4), rng.uniform(2, 5), rng.uniform(0.2, 0.45)
        move = np.array([[1, 0, right], [0, 1, down]])
        cast = cv2.warpAffine((labels != 0).astype(np.float64), move, (60, 60))
        near = 1 - depth * cv2.GaussianBlur(cast, (0, 0), 3)
        assert np.abs(factor - near).max() < 0.03
        assert factor[0, 0] == 1
