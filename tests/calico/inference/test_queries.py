"""Images that a program hands over: arrays, images of Pillow, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from calico.inference.image_sets import ImageSet, read_image_sets
from calico.inference.queries import rgb_image, row_query
from mixedparts.errors import InputError
from mixedparts.records import Task
from tests.factories.odd_images import colours, encoded, ramp

GREY = ramp(255).astype(np.uint8)
OF_GREY = np.repeat(GREY[:, :, None], 3, axis=2)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (colours(), colours()),
        (np.dstack([colours(), GREY]), colours()),
        (GREY, OF_GREY),
        (GREY[:, :, None], OF_GREY),
        (GREY.astype(np.uint16) * 257, OF_GREY),
        (colours().astype(np.uint16) * 257, colours()),
        (GREY.astype(">u2") * 257, OF_GREY),
        (GREY / 255, OF_GREY),
        (colours().astype(np.float32) / 255, colours()),
        (GREY > 99, (OF_GREY > 99) * np.uint8(255)),
        (colours()[:, ::-1], colours()[:, ::-1]),
        (Image.fromarray(GREY.astype(np.uint16) * 257), OF_GREY),
    ],
)
def test_arrays_become_rgb_by_the_rule_of_files(given: Any, expected: Any) -> None:
    assert np.array_equal(np.asarray(rgb_image(given)), expected)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (GREY.astype(np.int64), "array of int64"),
        (GREY.astype(np.complex64), "array of complex64"),
        (GREY.astype(np.uint32), "array of uint32"),
        (colours().transpose(2, 0, 1), r"shape \(3, 64, 96\)"),
        (GREY[:, :0], "without a pixel"),
        (GREY[0], r"shape \(96,\)"),
        (None, "NoneType"),
        (b"bytes", "bytes"),
        (Image.new("RGB", (0, 4)), "0 x 4"),
    ],
)
def test_what_is_no_image_is_one_message(given: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        rgb_image(given)


def test_pixels_of_a_row_follow_the_rule_too() -> None:
    ref = {"row": 0, "pixels": Image.fromarray(GREY.astype(np.uint16) * 257)}
    row = {"id": "1", "question": "?", "source": "paco", "split": "test", "images": [ref]}
    assert np.array_equal(np.asarray(row_query(row).images[0]), OF_GREY)


def test_a_folder_lists_images_of_all_formats_so_that_none_is_left_out_silently(
    tmp_path: Path,
) -> None:
    (tmp_path / "set").mkdir()
    for name in ("a.jpg", "b.TIF", "c.heic", "d.gif", "e.jfif", "notes.txt"):
        (tmp_path / "set" / name).write_bytes(encoded(colours(), "JPEG"))
    (asked,) = read_image_sets(tmp_path, Task.COMMON_PARTS)
    assert isinstance(asked, ImageSet)
    assert [path.name for path in asked.images] == ["a.jpg", "b.TIF", "c.heic", "d.gif", "e.jfif"]
