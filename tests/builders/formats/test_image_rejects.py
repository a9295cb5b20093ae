"""An image and its annotation: whichever is too large, the reject is the same."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from PIL import Image

from builders.formats.image_rejects import image_fault
from mixedparts.records import Reason
from tests.factories.odd_images import png


def huge(width: int, height: int) -> bytes:
    return png(struct.pack(">2I5B", width, height, 1, 0, 0, 0, 0), bytes(64))


@pytest.mark.parametrize("size", [(14_000, 13_000), (30_000, 20_000), (178_956_971, 1)])
def test_an_image_above_the_limit_is_unreadable_however_large_it_is(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    (tmp_path / "a.png").write_bytes(huge(*size))
    for annotated in (size, (64, 48), (30_000, 30_000)):
        reason, detail = image_fault(tmp_path / "a.png", *annotated) or (None, "")
        assert reason is Reason.UNREADABLE_IMAGE
        assert f"a.png: its size is {size[0]} x {size[1]}, more than the 178,956,970" in detail


@pytest.mark.parametrize(
    ("annotated", "reason"),
    [
        ((64, 48), None),
        ((48, 64), Reason.SIZE_MISMATCH),
        ((14_000, 13_000), Reason.SIZE_MISMATCH),
        ((30_000, 20_000), Reason.MALFORMED_RECORD),
        ((10**30, 48), Reason.MALFORMED_RECORD),
    ],
)
def test_a_size_that_only_the_annotation_claims(
    tmp_path: Path, annotated: tuple[int, int], reason: Reason | None
) -> None:
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    fault = image_fault(tmp_path / "a.png", *annotated)
    assert (fault and fault[0]) is reason
    absent = image_fault(tmp_path / "absent.png", *annotated)
    assert absent == (Reason.MISSING_IMAGE, "no file absent.png")
