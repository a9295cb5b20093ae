"""Files of a bundle and images that change during an import, or between two."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mixedparts.errors import InputError, UsageError
from mixedparts.interchange.bundle_import import importing
from mixedparts.interchange.bundle_import.importing import ImportRequest, import_bundle
from mixedparts.progress import Silent
from tests.factories.bundle import write_bundle


@pytest.fixture
def request_of(tmp_path: Path) -> ImportRequest:
    bundle, sources = write_bundle(tmp_path)
    return ImportRequest(bundle, sources, tmp_path / "out")


def change_after(monkeypatch: pytest.MonkeyPatch, name: str, path: Path) -> None:
    """Add a byte to a file once a function of `importing` has run for the first time."""
    real = getattr(importing, name)

    def changing(*arguments: Any) -> Any:
        result = real(*arguments)
        monkeypatch.setattr(importing, name, real)
        path.write_bytes(path.read_bytes() + b" ")
        return result

    monkeypatch.setattr(importing, name, changing)


def test_a_part_map_edited_at_equal_size_is_another_import(request_of: ImportRequest) -> None:
    (path, *_) = sorted(request_of.bundle.rglob("*part*/*.png")) or sorted(
        request_of.root.rglob("*part*/**/*.png")
    )
    with Image.open(path) as opened:
        labels = opened.copy()
    labels.save(path, compress_level=0)
    import_bundle(request_of, Silent())
    status = path.stat()
    value = labels.getpixel((0, 0))
    assert isinstance(value, int)
    labels.putpixel((0, 0), value ^ 1)
    labels.save(path, compress_level=0)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    with pytest.raises(UsageError, match="contents:"):
        import_bundle(request_of, Silent())


def test_a_file_that_changes_while_it_is_read_ends_the_import(
    request_of: ImportRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = next(request_of.bundle.rglob("*train*.json"))
    change_after(monkeypatch, "_paired", path)
    with pytest.raises(InputError, match="changed while they were read") as caught:
        import_bundle(request_of, Silent())
    assert path.name in caught.value.message
    assert import_bundle(request_of, Silent())["build_id"]


def test_an_image_replaced_between_reading_and_writing_ends_the_import(
    request_of: ImportRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = next(request_of.root.rglob("coco*/**/*.jpg"))
    change_after(monkeypatch, "check_rejects", path)
    with pytest.raises(InputError, match="changed after it was read") as caught:
        import_bundle(request_of, Silent())
    assert str(path) in caught.value.message
    assert import_bundle(request_of, Silent(), overwrite=True)["build_id"]
