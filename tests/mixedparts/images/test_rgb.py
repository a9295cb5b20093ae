"""Numbers of every range as 8 bits, and modes of Pillow as RGB."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from mixedparts.images.rgb import MODES, eight_bits, rgb_of

NAN, INF = float("nan"), float("inf")
HUGE = 1.7e308


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([0, 128, 129, 385, 386, 65534, 65535], "uint16", [0, 0, 1, 1, 2, 255, 255]),
        ([0, 300, 65535], "int32", [0, 1, 255]),
        ([0, 65536], "int32", [0, 255]),
        ([-1, 0, 1], "int32", [0, 128, 255]),
        ([2**32 - 1, 0, 2**31], "uint32", [255, 0, 128]),
        ([70_000, 70_000], "int32", [255, 255]),
        ([-3, -3], "int32", [0, 0]),
        ([257, 257], "int32", [1, 1]),
        ([0.0, 0.25, 0.5, 1.0], "float32", [0, 64, 128, 255]),
        ([0.5, 0.5], "float32", [128, 128]),
        ([0.0, 1.0, 2.0], "float32", [0, 128, 255]),
        ([-0.5, 0.5], "float64", [0, 255]),
        ([7.0, 7.0], "float32", [255, 255]),
        ([-7.0, -7.0], "float32", [0, 0]),
        ([NAN, 5.0, INF, 10.0, -INF], "float32", [0, 0, 0, 255, 0]),
        ([NAN, 0.5], "float32", [0, 128]),
        ([NAN, INF], "float32", [0, 0]),
        ([-HUGE, 0.0, HUGE], "float64", [0, 128, 255]),
        ([True, False], "bool", [255, 0]),
        ([3, 200], "uint8", [3, 200]),
    ],
)
@pytest.mark.filterwarnings("error")
def test_numbers_of_every_range(values: list[Any], dtype: str, expected: list[int]) -> None:
    array = np.array([values], dtype)
    assert eight_bits(array).tolist() == [expected]
    assert eight_bits(array).dtype == np.uint8


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_that_is_taken_becomes_rgb_without_metadata(mode: str) -> None:
    image = Image.new(mode if mode != "I;16N" else "I;16", (5, 4))
    image.info = {"exif": b"Exif\0\0", "transparency": 0}
    rgb = rgb_of(image)
    assert (rgb.mode, rgb.size, rgb.info) == ("RGB", (5, 4), {})
    assert image.info["transparency"] == 0


@pytest.mark.parametrize("mode", ["LAB", "La"])
def test_a_mode_without_a_rule_is_named(mode: str) -> None:
    with pytest.raises(ValueError, match=mode):
        rgb_of(Image.new(mode, (5, 4)))


def test_the_result_is_no_view_of_the_image() -> None:
    image = Image.new("RGB", (5, 4), (1, 2, 3))
    rgb_of(image).putpixel((0, 0), (9, 9, 9))
    assert image.getpixel((0, 0)) == (1, 2, 3)
