"""Whatever is taken for sound without decoding does decode."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixedparts.images.checks import check_image
from mixedparts.images.jpeg import plain_jpeg_size
from mixedparts.records import Reason


def picture(seed: int) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    grown = Image.fromarray(small).resize((20 + 13 * seed % 70, 20 + 29 * seed % 70))
    return grown.convert("L") if seed % 5 == 0 else grown


def encoded(seed: int) -> bytes:
    stream = io.BytesIO()
    picture(seed).save(
        stream,
        "JPEG",
        quality=(30, 75, 95)[seed % 3],
        optimize=seed % 4 == 0,
        subsampling=seed % 3,
        comment=b"hello" if seed % 2 else b"",
    )
    return stream.getvalue()


def decoded_size(path: Path) -> tuple[int, int] | None:
    """What Pillow makes of a file: its size if it decodes to its end."""
    try:
        with Image.open(path, formats=("JPEG",)) as opened:
            opened.load()
            return opened.size
    except Exception:
        return None


@pytest.mark.parametrize("seed", range(24))
def test_plain_files_are_sound_at_their_size(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(encoded(seed))
    assert plain_jpeg_size(path.read_bytes()) == decoded_size(path) == picture(seed).size


def test_a_spoilt_file_that_passes_does_decode(tmp_path: Path) -> None:
    rng = random.Random(3)
    files = [encoded(seed) for seed in range(24)]
    path = tmp_path / "x.jpg"
    passed = refused = 0
    for _ in range(3_000):
        data = bytearray(rng.choice(files))
        if rng.random() < 0.2:
            data = data[: rng.randrange(len(data))] + rng.choice((b"", b"\xff\xd9"))
        for _ in range(rng.choice((0, 1, 1, 3))):
            if data:
                data[rng.randrange(min(len(data), 700))] = rng.randrange(256)
        path.write_bytes(data)
        size = plain_jpeg_size(path.read_bytes())
        passed, refused = passed + (size is not None), refused + (size is None)
        if size is not None:
            assert decoded_size(path) == size
    assert min(passed, refused) > 500


def test_the_unusual_is_left_to_a_decoder(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    for options in ({"progressive": True}, {"restart_marker_rows": 1}):
        picture(1).save(path, "JPEG", **options)
        assert plain_jpeg_size(path.read_bytes()) is None
        assert decoded_size(path) == picture(1).size
    picture(1).convert("CMYK").save(path, "JPEG")
    assert plain_jpeg_size(path.read_bytes()) is None
    picture(1).save(path, "PNG")
    assert plain_jpeg_size(path.read_bytes()) is None
    path.write_bytes(b"")
    assert plain_jpeg_size(path.read_bytes()) is None
    missing = check_image(tmp_path / "none.jpg", 1, 1)
    assert missing is not None
    assert missing[0] is Reason.MISSING_IMAGE


def test_files_with_one_header_are_judged_by_their_own_data() -> None:
    data = encoded(1)
    size = plain_jpeg_size(data)
    assert size == picture(1).size
    scan = (
        data.index(b"\xff\xda") + 2 + int.from_bytes(data[data.index(b"\xff\xda") + 2 :][:2], "big")
    )
    assert plain_jpeg_size(data[:scan] + b"\x12\x34\xff\xd9") == size
    # A marker in the data, a byte behind the end, no end: left to a decoder.
    for broken in (data[:scan] + b"\xff\xd0\x12\xff\xd9", data + b"\x00\xff\xd9", data[:-2]):
        assert plain_jpeg_size(broken) is None
    assert plain_jpeg_size(data) == size


@pytest.mark.parametrize("length", [40, 3000])
def test_a_scan_within_a_comment_is_no_scan(length: int) -> None:
    data = encoded(2)
    comment = b"\xff\xda\x00\x04".ljust(length, b"x")
    marked = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
    assert plain_jpeg_size(data[:2] + marked + data[2:]) == plain_jpeg_size(data) == picture(2).size
