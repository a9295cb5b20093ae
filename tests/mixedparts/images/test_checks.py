"""Pictures as bytes: what is refused and why, and that no reader turns what we store."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from mixedparts.images.checks import check_image
from mixedparts.images.exif import neutral_bytes
from mixedparts.records import Reason

WIDTH, HEIGHT = 40, 24
ORIENTATION = 0x0112
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'


def pixels() -> np.ndarray:
    ramp = np.arange(HEIGHT * WIDTH * 3, dtype=np.uint32).reshape(HEIGHT, WIDTH, 3)
    return (ramp * 7 % 251).astype(np.uint8)


def encoded(form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels()).save(stream, form, **options)
    return stream.getvalue()


def exif(order: str = "<", orientation: int = 6, kind: int = 3) -> bytes:
    """Write a TIFF header with a make, the orientation as SHORT (3) or LONG (4), and a padding."""
    head = b"II" if order == "<" else b"MM"
    value = struct.pack(order + ("HH" if kind == 3 else "I"), orientation, *([0] * (kind == 3)))
    entries = [
        struct.pack(order + "HHI", 0x010F, 2, 3) + b"me\x00\x00",
        struct.pack(order + "HHI", ORIENTATION, kind, 1) + value,
    ]
    body = struct.pack(order + "H", len(entries)) + b"".join(entries) + b"\x00" * 4
    return head + struct.pack(order + "HI", 42, 8) + body


def as_readers_see_it(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))


def as_stored(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB"))


def with_app1(data: bytes, payload: bytes) -> bytes:
    segment = b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload
    return data[:2] + segment + data[2:]


def with_png_chunk(data: bytes, kind: bytes, body: bytes) -> bytes:
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return data[:33] + chunk + data[33:]  # after the signature and the header chunk


def raw_profile() -> bytes:
    content = b"Exif\x00\x00" + exif()
    return f"\nexif\n{len(content):8d}\n{content.hex()}\n".encode()


ITXT = b"XML:com.adobe.xmp\x00%b\x00\x00\x00%b"
JPEG, PNG, WEBP = encoded("JPEG"), encoded("PNG"), encoded("WEBP", lossless=True)
TURNED = {
    "jpeg little endian": with_app1(JPEG, b"Exif\x00\x00" + exif()),
    "jpeg big endian": with_app1(JPEG, b"Exif\x00\x00" + exif(">")),
    "jpeg orientation as long": with_app1(JPEG, b"Exif\x00\x00" + exif(">", 8, 4)),
    "jpeg xmp": with_app1(JPEG, b"http://ns.adobe.com/xap/1.0/\x00" + XMP),
    "jpeg mirrored": with_app1(JPEG, b"Exif\x00\x00" + exif(orientation=2)),
    "png exif": with_png_chunk(PNG, b"eXIf", exif()),
    "png xmp": with_png_chunk(PNG, b"iTXt", ITXT % (b"\x00", XMP)),
    "png packed xmp": with_png_chunk(PNG, b"iTXt", ITXT % (b"\x01", zlib.compress(XMP))),
    "png raw profile": with_png_chunk(
        PNG, b"zTXt", b"Raw profile type exif\x00\x00" + zlib.compress(raw_profile())
    ),
    "webp exif": encoded("WEBP", lossless=True, exif=exif()),
    "webp xmp": encoded("WEBP", lossless=True, xmp=XMP),
}


@pytest.mark.parametrize("data", TURNED.values(), ids=TURNED)
def test_no_reader_turns_the_stored_picture(data: bytes) -> None:
    stored = as_stored(data)
    if np.array_equal(as_readers_see_it(data), stored):
        pytest.skip("this Pillow does not honour the tag")

    neutral = neutral_bytes(data)

    assert np.array_equal(as_readers_see_it(neutral), stored)
    assert np.array_equal(as_stored(neutral), stored)
    assert neutral_bytes(neutral) == neutral


@pytest.mark.parametrize("data", TURNED.values(), ids=TURNED)
def test_cut_bytes_never_raise(data: bytes) -> None:
    for stop in range(0, len(data), 7):
        neutral_bytes(data[:stop])


@pytest.mark.parametrize(
    "data",
    [
        JPEG,
        PNG,
        WEBP,
        encoded("GIF"),
        b"",
        b"not a picture",
        with_app1(JPEG, b"Exif\x00\x00" + exif(orientation=1)),
        with_app1(JPEG, b"Exif\x00\x00II"),
        with_app1(JPEG, b"Exif\x00\x00II*\x00\xff\xff\xff\xff"),
    ],
)
def test_bytes_that_ask_for_no_turning_stay_as_they_are(data: bytes) -> None:
    assert neutral_bytes(data) == data


def test_other_metadata_stay() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", "somebody")
    data = with_png_chunk(encoded("PNG", pnginfo=info), b"eXIf", exif())
    with Image.open(io.BytesIO(neutral_bytes(data))) as picture:
        assert picture.info["Author"] == "somebody"
        assert picture.getexif()[0x010F] == "me"


@pytest.mark.parametrize(
    ("name", "form", "mode"),
    [
        ("a.jpg", "JPEG", "RGB"),
        ("grey.jpg", "JPEG", "L"),
        ("cmyk.jpg", "JPEG", "CMYK"),
        ("png_inside.JPEG", "PNG", "RGB"),
        ("palette.png", "PNG", "P"),
        ("sixteen.png", "PNG", "I;16"),
        ("sixteen.tif", "TIFF", "I;16"),
        ("float.tif", "TIFF", "F"),
        ("tiff_inside.jpg", "TIFF", "RGB"),
        ("a.webp", "WEBP", "RGB"),
        ("a.bmp", "BMP", "RGB"),
    ],
)
def test_pictures_of_every_usual_kind_pass(tmp_path: Path, name: str, form: str, mode: str) -> None:
    Image.new(mode, (WIDTH, HEIGHT)).save(tmp_path / name, form)
    assert check_image(tmp_path / name, WIDTH, HEIGHT) is None


@pytest.mark.parametrize(
    ("form", "named"), [("GIF", "a GIF"), ("EPS", "PostScript"), ("PPM", "netpbm"), ("PDF", "PDF")]
)
def test_a_file_of_another_format_is_not_opened_whatever_its_name(
    tmp_path: Path, form: str, named: str
) -> None:
    path = tmp_path / "a.jpg"
    Image.new("RGB", (WIDTH, HEIGHT)).save(path, form)
    reason, detail = check_image(path, WIDTH, HEIGHT) or (None, "")
    assert reason is Reason.UNREADABLE_IMAGE
    assert named in detail
    assert "convert it" in detail


def test_size_is_the_stored_one(tmp_path: Path) -> None:
    (tmp_path / "turned.jpg").write_bytes(TURNED["jpeg little endian"])
    assert check_image(tmp_path / "turned.jpg", WIDTH, HEIGHT) is None
    reason, detail = check_image(tmp_path / "turned.jpg", HEIGHT, WIDTH) or (None, "")
    assert reason is Reason.SIZE_MISMATCH
    assert "40 x 24" in detail
    assert "24 x 40" in detail


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        JPEG[: len(JPEG) // 2],
        PNG[: len(PNG) // 2],
        JPEG[:20],
        PNG[:40] + b"\x00" * 40 + PNG[80:],
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 24\n",
        b"GIF89a" + b"\x00" * 30,
    ],
)
def test_what_does_not_decode_is_unreadable(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    reason, detail = check_image(path, WIDTH, HEIGHT) or (None, "")
    assert reason is Reason.UNREADABLE_IMAGE
    assert "a.jpg" in detail
    assert str(tmp_path) not in detail


@pytest.mark.parametrize("name", ["absent.jpg", "x" * 5000, "zero\x00byte", "\ud800.jpg", "."])
def test_what_is_no_file_is_missing(tmp_path: Path, name: str) -> None:
    reason, _ = check_image(tmp_path / name, WIDTH, HEIGHT) or (None, "")
    assert reason is Reason.MISSING_IMAGE


def test_a_camera_file_of_several_pictures_passes(tmp_path: Path) -> None:
    first, second = Image.fromarray(pixels()), Image.fromarray(pixels()[::-1])
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second])
    assert check_image(tmp_path / "a.jpg", WIDTH, HEIGHT) is None


def test_a_pipe_in_place_of_an_image_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    for path in (tmp_path / "a.jpg", str(tmp_path / "a.jpg")):
        assert check_image(path, 4, 4) == (Reason.MISSING_IMAGE, "no file a.jpg")
