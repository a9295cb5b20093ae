"""What the door for image files takes and refuses, whatever a process has set for Pillow."""

from __future__ import annotations

import io
import struct
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from mixedparts.errors import InputError
from mixedparts.images.exif import neutral_bytes
from mixedparts.images.formats import IMAGE_SUFFIXES, format_of
from mixedparts.images.opening import (
    MAX_PIXELS,
    UnreadableImage,
    decodable_size,
    image_bytes,
    opened,
    orientation_of,
    rgb_image,
    rgb_in_memory,
    stored_size,
)
from tests.factories.odd_images import HEIGHT, WIDTH, colours, encoded, ramp, refused_images

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'


def bit_png(width: int, height: int) -> bytes:
    return encoded(Image.new("1", (width, height)), "PNG")


def test_the_limit_is_that_of_plain_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_PIXELS == 178_956_970 == 2 * (1024**3 // 4 // 3)
    monkeypatch.setattr("mixedparts.images.opening.MAX_PIXELS", 24 * 40)
    assert decodable_size(bit_png(24, 40)) == (24, 40)
    with pytest.raises(UnreadableImage, match=r"24 x 41, more than"):
        decodable_size(bit_png(24, 41))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "WEBP", "TIFF"])
@pytest.mark.parametrize("limit", [10, None])
def test_no_setting_of_the_process_matters_and_it_stays(
    monkeypatch: pytest.MonkeyPatch, form: str, limit: int | None
) -> None:
    data = encoded(colours(), form)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert rgb_image(data, "a").size == decodable_size(data) == (WIDTH, HEIGHT)
        with pytest.raises(UnreadableImage):
            decodable_size(data[:-60] if form != "TIFF" else data[:200])
    assert limit == Image.MAX_IMAGE_PIXELS
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_threads_leave_the_settings_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    cut = encoded(colours(), "PNG")[:-400]
    start = threading.Barrier(4)

    def refused(_: int) -> int:
        start.wait()
        count = 0
        for _ in range(50):
            with pytest.raises(UnreadableImage, match="truncated"):
                decodable_size(cut)
            count += 1
        return count

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(refused, range(4))) == 200
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["tag", "xmp"])
def test_a_tiff_stays_on_its_stored_grid_and_readers_of_the_neutral_bytes_turn_nothing(
    big: bool, orientation: int, kind: str
) -> None:
    tags = {274: orientation} if kind == "tag" else {700: XMP.replace(b"6", b"%d" % orientation)}
    data = encoded(colours(), "TIFF", tiffinfo=tags, big_tiff=big)
    # Pillow 11 does not read the XMP of a TIFF.
    assert orientation_of(data) in {orientation, orientation if kind == "tag" else 1}
    assert stored_size(data) == decodable_size(data) == (WIDTH, HEIGHT)
    assert np.array_equal(np.asarray(rgb_image(data, "a")), colours())

    neutral = neutral_bytes(data)
    assert len(neutral) == len(data)
    assert (neutral == data) == (orientation == 1)
    assert orientation_of(neutral) == 1
    with Image.open(io.BytesIO(neutral)) as image:
        assert np.array_equal(np.asarray(ImageOps.exif_transpose(image)), colours())
    for stop in range(0, len(data), 211):
        assert len(neutral_bytes(data[:stop])) == stop


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
@pytest.mark.parametrize("exif", [b"II*\0", b"nonsense", b"", b"II*\0\x08\0\0\0\xff\xff"])
def test_metadata_that_no_reader_can_read_are_dropped(form: str, exif: bytes) -> None:
    data = neutral_bytes(encoded(colours(), form, exif=exif, lossless=True))
    assert orientation_of(data) == 1
    assert neutral_bytes(data) == data
    assert np.array_equal(np.asarray(rgb_image(data, "a")), colours())


def test_a_reduced_jpeg_is_not_smaller_than_asked() -> None:
    big = encoded(Image.fromarray(colours()).resize((1000, 700)), "JPEG")
    assert rgb_image(big, "a", least_height=320).size == (500, 350)
    assert rgb_image(big, "a", least_height=900).size == (1000, 700)
    narrow = encoded(Image.new("L", (2, 4000)), "JPEG")
    assert rgb_image(narrow, "a", least_height=320).height >= 320
    assert rgb_image(encoded(colours(), "PNG"), "a", least_height=8).size == (WIDTH, HEIGHT)


def test_an_unusual_jpeg_that_only_fails_in_colour_is_refused_at_once() -> None:
    """Chroma of 3 to 2 samples has no rule in libjpeg, but its grey alone decodes."""
    data = bytearray(encoded(colours(), "JPEG", subsampling=0))
    frame = data.index(b"\xff\xc0")
    data[frame + 11] = 0x31
    data[frame + 14] = data[frame + 17] = 0x21
    with pytest.raises(UnreadableImage):
        decodable_size(bytes(data))
    with pytest.raises(InputError):
        rgb_image(bytes(data), "a")


def test_only_the_asked_formats_are_opened() -> None:
    with pytest.raises(UnreadableImage, match="it is a JPEG file, not PNG"):
        opened(encoded(colours(), "JPEG"), ("PNG",))


def test_files_that_are_not_there_are_one_message(tmp_path: Path) -> None:
    for name in ("absent.jpg", "x" * 4000, "zero\0byte", "."):
        with pytest.raises(InputError, match="cannot be read"):
            image_bytes(tmp_path / name)


def test_names_of_formats_come_from_the_content() -> None:
    forms = ("JPEG", "PNG", "BMP", "WEBP", "TIFF")
    assert [format_of(encoded(colours(), form)) for form in forms] == list(forms)
    assert {
        format_of(data) for data, text in refused_images().values() if text.startswith("a")
    } == {None}
    assert {".jpg", ".jfif", ".tif", ".gif", ".heic"} <= IMAGE_SUFFIXES


def test_images_in_memory_have_the_limits_of_files(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="0 x 5"):
        rgb_in_memory(Image.new("RGB", (0, 5)), "given")
    with pytest.raises(InputError, match="LAB"):
        rgb_in_memory(Image.new("LAB", (4, 5)), "given")
    sixteen = Image.fromarray(ramp(65535).astype(np.uint16))
    assert np.asarray(rgb_in_memory(sixteen, "given")).mean() == pytest.approx(127.5, abs=1)
    cut = Image.open(io.BytesIO(encoded(colours(), "PNG")[:900]))
    with pytest.raises(InputError, match="the image given cannot be decoded: image file is trunc"):
        rgb_in_memory(cut, "given")
    monkeypatch.setattr("mixedparts.images.opening.MAX_PIXELS", 19)
    with pytest.raises(InputError, match="5 x 4"):
        rgb_in_memory(Image.new("RGB", (5, 4)), "given")


def test_a_jpeg_with_the_header_of_a_huge_one_is_refused_before_it_is_decoded() -> None:
    data = refused_images()["180 megapixels JPEG"][0]
    assert struct.pack(">2H", 13_000, 14_000) in data
    for door in (decodable_size, stored_size, lambda d: rgb_image(d, "a")):
        with pytest.raises((UnreadableImage, InputError), match="178,956,970"):
            door(data)
