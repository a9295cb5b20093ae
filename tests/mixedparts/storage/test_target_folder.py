"""Nothing of somebody else is ever written over: the folder is new, empty, or an earlier output."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixedparts.errors import UsageError
from mixedparts.storage.target_folder import holds_earlier


def has_mark(folder: Path) -> bool:
    return (folder / "mark").is_file()


def test_new_and_empty_folders_hold_nothing(tmp_path: Path) -> None:
    assert not holds_earlier(tmp_path, "export", has_mark)
    assert not holds_earlier(tmp_path / "new", "export", has_mark)


def test_what_a_kill_left_is_no_content(tmp_path: Path) -> None:
    (tmp_path / ".README.md.123.tmp").touch()
    assert not holds_earlier(tmp_path, "build", has_mark)
    (tmp_path / ".notes.tmp").touch()
    with pytest.raises(UsageError, match="is not empty and contains no build"):
        holds_earlier(tmp_path, "build", has_mark)


def test_an_earlier_output_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "mark").touch()
    assert holds_earlier(tmp_path, "export", has_mark)


def test_files_and_other_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(
        UsageError, match=r"is not empty and contains no export\nChoose another folder"
    ):
        holds_earlier(tmp_path, "export", has_mark)
    with pytest.raises(UsageError, match=r"notes.txt is a file\nChoose another folder"):
        holds_earlier(tmp_path / "notes.txt", "export", has_mark)
