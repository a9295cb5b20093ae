"""The search for a file: exact place, other places, links, folders that may not be entered."""

from __future__ import annotations

from pathlib import Path

import pytest

from builders.formats.paths import Found, Places, find_file


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


@pytest.mark.parametrize(
    ("present", "places", "found"),
    [
        (["a/x", "x", "b/x"], Places("a/x", ("x", "b/x")), Found("a/x")),
        (["x"], Places("a/x", ("x", "b/x")), Found("x", exact=False)),
        (["x", "b/x"], Places("a/x", ("x", "b/x")), Found("x", "b/x", exact=False)),
        (["b/x"], Places("", ("x", "b/x")), Found("b/x", exact=False)),
        ([], Places("a/x", ("x",)), Found("a/x")),
        ([], Places("", ("x", "b/x")), Found("x")),
        (["a/x/folder"], Places("a/x", ("b/x",)), Found("a/x")),
    ],
)
def test_the_exact_place_else_the_only_other(
    tmp_path: Path, present: list[str], places: Places, found: Found
) -> None:
    put(tmp_path, *present)
    assert find_file(tmp_path, places) == found


def test_two_paths_to_one_file_are_no_two_files(tmp_path: Path) -> None:
    put(tmp_path, "coco/x")
    (tmp_path / "coco_2017").symlink_to(tmp_path / "coco")
    found = find_file(tmp_path, Places("", ("coco/x", "coco_2017/x")))
    assert found == Found("coco/x", exact=False)


def test_a_place_that_may_not_be_looked_at_is_not_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "closed/x", "x")
    really = __import__("os").stat

    def stat(path: Path) -> object:
        if "closed" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return really(path)

    monkeypatch.setattr("builders.formats.paths.os.stat", stat)
    assert find_file(tmp_path, Places("closed/x", ("x",))) == Found("closed/x")
