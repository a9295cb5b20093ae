"""The quick look at an image's header agrees with the one door that opens images."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from mixedparts.images import headers
from mixedparts.images.headers import has_size
from mixedparts.images.opening import stored_size


def encoded(form: str, size: tuple[int, int] = (37, 21), **options: object) -> bytes:
    stream = io.BytesIO()
    mode = "CMYK" if options.pop("cmyk", False) else "RGB"
    Image.new(mode, size, 90).save(stream, form, **options)
    return stream.getvalue()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize(
    "data",
    [
        encoded("JPEG"),
        encoded("JPEG", progressive=True),
        encoded("JPEG", cmyk=True),
        encoded("JPEG", exif=exif(6)),
        encoded("JPEG", icc_profile=b"\xff\xc0" * 40_000),
        encoded("PNG"),
        encoded("PNG", exif=exif(8)),
        encoded("BMP"),
        encoded("WEBP"),
        encoded("TIFF"),
        b"\xff\xd8\xff" + encoded("JPEG")[2:],  # a fill byte before the first marker
    ],
)
def test_the_size_is_that_of_the_stored_grid(data: bytes) -> None:
    assert stored_size(data) == (37, 21)
    assert has_size(data, 37, 21)
    for width, height in ((21, 37), (38, 21), (37, 20), (0, 0)):
        assert not has_size(data, width, height)


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xd8", b"\xff\xd8\xff\xc0", encoded("JPEG")[:40], b"x" * 900, encoded("GIF")],
)
def test_what_is_no_image_has_no_size(data: bytes) -> None:
    assert not has_size(data, 37, 21)


def test_a_plain_jpeg_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(data: bytes) -> tuple[int, int]:
        raise AssertionError("opened")

    monkeypatch.setattr(headers, "stored_size", refuse)
    assert has_size(encoded("JPEG", (640, 480)), 640, 480)
