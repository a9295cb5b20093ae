"""Images of a page: the bytes of the file where they fit, else a smaller JPEG."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixedparts.errors import InputError
from mixedparts.viewer import Head, ShownImage, write_page
from mixedparts.viewer.build_page import PageRequest, write_build_page
from mixedparts.viewer.page.previews import bytes_of_each, preview
from mixedparts.viewer.selection import Query
from tests.factories.viewer_samples import sample
from tests.oracles.build_tables import iter_rows


def encoded(size: tuple[int, int], form: str, **options: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form, **options)
    return stream.getvalue()


def shown(size: tuple[int, int], data: bytes) -> ShownImage:
    return ShownImage("key", "an image", *size, lambda: data)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP"])
def test_a_file_that_fits_stays_as_it_is(form: str) -> None:
    data = encoded((60, 40), form)
    made = preview(shown((60, 40), data), data, 10**6, 1000)
    assert (made.data, made.width, made.height) == (data, 60, 40)
    assert made.address().startswith(f"data:image/{form.lower()};base64,")


def test_what_does_not_fit_becomes_smaller_and_keeps_its_shape() -> None:
    data = encoded((400, 200), "PNG")
    made = preview(shown((400, 200), data), data, 9_000, 1000)
    assert len(made.data) <= 9_000
    assert made.mime == "image/jpeg"
    assert 0.4 < made.height / made.width < 0.6
    assert Image.open(io.BytesIO(made.data)).size == (made.width, made.height)
    wide = preview(shown((400, 200), data), data, 10**6, 100)
    assert (wide.width, wide.height) == (100, 50)
    tiff = encoded((30, 20), "TIFF")
    assert preview(shown((30, 20), tiff), tiff, 10**6, 100).mime == "image/jpeg"


def test_an_orientation_tag_turns_nothing() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded((50, 20), "JPEG", exif=exif)
    made = preview(shown((50, 20), data), data, 10**6, 1000)
    assert (made.width, made.height) == (50, 20)
    assert Image.open(io.BytesIO(made.data)).getexif().get(0x0112, 1) == 1


def test_an_image_of_another_size_is_refused() -> None:
    data = encoded((50, 20), "JPEG")
    with pytest.raises(InputError, match="has 50 x 20 pixels, its row says 20 x 50"):
        preview(shown((20, 50), data), data, 10**6, 1000)
    with pytest.raises(InputError, match="an image cannot be decoded"):
        preview(shown((20, 50), b"nothing"), b"nothing", 10**6, 1000)


def test_all_images_fit_the_budget(tmp_path: Path) -> None:
    mask = np.ones((300, 400), np.uint8)
    data = encoded((400, 300), "PNG")
    samples = []
    for number in range(6):
        one = sample(str(number), [mask, mask])
        images = tuple(ShownImage(f"{number}-{n}", "x", 400, 300, lambda: data) for n in range(2))
        samples.append(replace(one, images=images))
    out = tmp_path / "view.html"
    written = write_page(samples, out, Head("x"), most_bytes=200_000)
    text = out.read_text(encoding="utf-8")
    parts = re.findall(r'<script type="text/plain" id="image-\d+">(.*?)</script>', text)
    assert len(parts) == written.images == written.smaller == 12
    assert sum(map(len, parts)) <= 200_000 + 12 * 30
    assert written.bytes == out.stat().st_size
    assert bytes_of_each([], 100) == 75


def test_an_image_is_stored_once_and_as_its_file_is(built: Path, tmp_path: Path) -> None:
    out = tmp_path / "view.html"
    query = Query(splits=("test", "benchmark"))
    written, chosen = write_build_page(built, out, PageRequest(query, limit=10**4))
    images = {row["row"]: row["image"]["bytes"] for row in iter_rows(built, "images", "test")}
    text = out.read_text(encoding="utf-8")
    parts = re.findall(r'id="image-\d+">data:image/\w+;base64,(.*?)</script>', text)
    assert written.samples == chosen.total > 2 * len(parts) > 0
    assert sorted(map(base64.b64decode, parts)) == sorted(images.values())
