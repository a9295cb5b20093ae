"""Colours of regions stay apart for every kind of colour vision."""

from __future__ import annotations

from itertools import combinations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mixedparts.viewer.page.colours import KINDS, OBJECTS, PARTS

# Machado, Oliveira and Fernandes (2009), severity 1.0, for linear RGB.
VISIONS = {
    "full": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]]),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
         [0.004733, 0.691367, 0.303900]]),
}  # fmt: skip


def lab(colour: str, vision: str) -> NDArray[np.float64]:
    """CIE L*a*b* of a colour as such eyes see it."""
    value = np.array([int(colour[n : n + 2], 16) for n in (1, 3, 5)]) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    seen = np.clip(VISIONS[vision] @ linear, 0, 1)
    back = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
    pixel = np.asarray(back, np.float32).reshape(1, 1, 3)
    return np.asarray(cv2.cvtColor(pixel, cv2.COLOR_RGB2LAB)[0, 0], np.float64)


def nearest(colours: tuple[str, ...], vision: str) -> float:
    """The least distance (CIE 1976) of two of the colours."""
    seen = [lab(colour, vision) for colour in colours]
    return min(float(np.linalg.norm(one - two)) for one, two in combinations(seen, 2))


@pytest.mark.parametrize("vision", VISIONS)
def test_colours_that_are_used_first_are_far_apart(vision: str) -> None:
    assert nearest(tuple(dict.fromkeys(KINDS.values())), vision) > 15
    assert nearest((*OBJECTS[:2], *PARTS[:5]), vision) > 15
    # A pair of red and green of the same lightness, which this measure must refuse.
    assert vision != "deuteranopia" or nearest(("#c06060", "#7f7f4a"), vision) < 10


@pytest.mark.parametrize("vision", VISIONS)
def test_no_two_colours_look_alike(vision: str) -> None:
    assert len(PARTS) >= 10
    assert nearest((*OBJECTS, *PARTS), vision) > 13
