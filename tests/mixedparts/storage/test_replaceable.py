"""What a file or folder may replace, and names that are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.progress import Silent
from mixedparts.storage.replace_folder import recover, replace_folder, staging_folder
from mixedparts.storage.shards import write_text
from mixedparts.verification.verify import verify
from mixedparts.viewer.build_page import PageRequest, write_build_page


def test_devices_and_folders_are_never_replaced(tmp_path: Path) -> None:
    # A link to a pipe is what /dev/stdout is; a device of our own could only be made by root.
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "stdout").symlink_to("pipe")
    for place, says in (
        (Path("/dev/null"), "it is a device, not a file"),
        (tmp_path / "stdout", "it is a device, not a file"),
        (tmp_path, "it is a folder"),
        (Path("/"), "it is a folder"),
    ):
        before = os.lstat(place)
        with pytest.raises(OSError, match=says):
            write_text(place, "x")
        assert os.lstat(place).st_ino == before.st_ino
    assert Path("/dev/null").is_char_device()
    (tmp_path / "link").symlink_to("gone")
    write_text(tmp_path / "link", "x")
    assert (tmp_path / "link").read_text() == "x"


def test_a_page_is_not_written_over_a_folder(built: Path, tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        write_build_page(built, tmp_path, PageRequest(limit=1))
    assert not list(tmp_path.iterdir())


def test_the_present_folder_can_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.chdir(out)
    here = Path(".")
    recover(here)
    fresh = staging_folder(here)
    assert fresh == tmp_path / ".out.new"
    fresh.mkdir()
    (fresh / "a").touch()
    old = replace_folder(fresh, here)
    assert (out / "a").exists()
    assert old is not None
    assert old.parent == tmp_path


def test_a_build_in_the_present_folder(
    native_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    config = BuildConfig(sources=("paco",), root=native_root, out=Path("."), samples=9)
    build(config, Silent())
    assert verify(tmp_path / "out", "full").listed == []
