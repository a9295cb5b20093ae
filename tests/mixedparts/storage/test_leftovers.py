"""What a killed process left half-written is removed, and only that."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mixedparts.storage.leftovers import is_leftover, remove_leftovers
from mixedparts.storage.shards import written_beside

OURS = (".plan.json.17.tmp", ".checkpoint-000002.1.tmp", ".99.tmp", ".a b.ü.3.tmp", ".a\nb.3.tmp")
THEIRS = (
    "17.tmp",
    ".tmp",
    ".notes.tmp",
    ".plan.json.17",
    "plan.17.tmp",
    ".a.1x.tmp",
    ".a.1.tmp.gz",
)


@pytest.mark.parametrize("name", OURS)
def test_our_names(name: str) -> None:
    assert is_leftover(name)


@pytest.mark.parametrize("name", THEIRS)
def test_names_of_others(name: str) -> None:
    assert not is_leftover(name)


def test_what_is_written_beside_a_file_is_found_by_its_name(tmp_path: Path) -> None:
    with written_beside(tmp_path / "a.json", flush=False) as temporary:
        temporary.touch()
        assert is_leftover(temporary.name)
        assert is_leftover(temporary.name, "a.json")
        assert not is_leftover(temporary.name, "json")
        assert not is_leftover(temporary.name, "b.json")


def test_files_and_folders_of_one_name_or_of_all(tmp_path: Path) -> None:
    remove_leftovers(tmp_path / "absent")
    for name in (".a.1.tmp", ".b.2.tmp", ".notes.tmp"):
        (tmp_path / name).touch()
    (tmp_path / ".a.3.tmp" / "inside").mkdir(parents=True)
    target = tmp_path / "target"
    target.mkdir()
    (target / "stays").touch()
    (tmp_path / ".a.4.tmp").symlink_to(target)
    remove_leftovers(tmp_path, "a")
    assert sorted(os.listdir(tmp_path)) == [".b.2.tmp", ".notes.tmp", "target"]
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".notes.tmp", "target"]
    assert os.listdir(target) == ["stays"]
