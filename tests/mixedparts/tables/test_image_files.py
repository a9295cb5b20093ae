"""An image file is read whole, also one that is no longer as long as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mixedparts.errors import InputError
from mixedparts.tables.image_files import ImageFile


def image_file(path: Path, size: int) -> ImageFile:
    return ImageFile("paco", "1", path.name, path, size, 12, 8)


def test_the_bytes_of_an_unchanged_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("RGB", (12, 8)).save(path)
    data = path.read_bytes()
    assert image_file(path, len(data)).read() == data


@pytest.mark.parametrize("more", [-1, 1, 3])
def test_another_length_is_reported_with_both_numbers(tmp_path: Path, more: int) -> None:
    path = tmp_path / "a.jpg"
    Image.new("RGB", (12, 8)).save(path)
    size = path.stat().st_size
    with pytest.raises(InputError, match=f"it had {size + more:,} bytes and now has {size:,}"):
        image_file(path, size + more).read()


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it cannot be read any more: Is a directory"):
        image_file(tmp_path, 10).read()
