"""Folders are listed as a whole or not at all: what cannot be listed is an error with its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixedparts.errors import InputError
from mixedparts.files.folders import list_folder, walk_folders
from tests.factories.closed_folders import close_folder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Six files in four folders; one of the folders is linked to from a second place."""
    root = tmp_path / "root"
    for name in ("b/2.txt", "b/1.txt", "b/inner/3.txt", "a/4.txt", "5.txt", ".hidden/6.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "a" / "linked").symlink_to(root / "b" / "inner")
    return root


def walked(root: Path) -> list[str]:
    return [f"{at.inside}/{file.name}" for at in walk_folders(root) for file in at.files]


def test_every_file_in_the_order_of_the_names(tree: Path) -> None:
    (tree / "a" / "gone.jpg").symlink_to("nowhere.jpg")
    (tree / "a" / "self.jpg").symlink_to("self.jpg")
    (tree / "a" / "below.jpg").symlink_to("4.txt/below.jpg")
    assert walked(tree) == [
        "./5.txt",
        ".hidden/6.txt",
        "a/4.txt",
        "a/below.jpg",
        "a/gone.jpg",
        "a/self.jpg",
        "a/linked/3.txt",
        "b/1.txt",
        "b/2.txt",
        "b/inner/3.txt",
    ]
    assert [entry.name for entry in list_folder(tree / "b")] == ["1.txt", "2.txt", "inner"]


def test_a_name_that_the_caller_removes_is_not_entered(tree: Path) -> None:
    found = []
    for listing in walk_folders(tree):
        found.append(listing.inside)
        listing.folders[:] = [name for name in listing.folders if name != "b"]
    assert found == [".", ".hidden", "a", "a/linked"]


@pytest.mark.parametrize("closed", [".", "b", "b/inner"])
def test_a_closed_folder_is_an_error(
    tree: Path, closed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    close_folder(monkeypatch, tree / closed)
    with pytest.raises(InputError) as caught:
        walked(tree)
    path = tree if closed == "." else tree / ("a/linked" if closed == "b/inner" else closed)
    assert caught.value.message == f"the folder {path} cannot be listed: Permission denied"
    assert caught.value.exit_code == 3
    assert caught.value.hint


def test_what_is_no_folder_is_an_error(tree: Path) -> None:
    with pytest.raises(InputError, match=r"5\.txt cannot be listed: Not a directory"):
        walked(tree / "5.txt")
    with pytest.raises(InputError, match="none cannot be listed: No such file"):
        walked(tree / "none")


@pytest.mark.parametrize(
    ("link", "target"), [("loop", "."), ("b/inner/up", "../.."), ("a/x", "..")]
)
def test_a_link_to_a_folder_above_it_is_named(tree: Path, link: str, target: str) -> None:
    (tree / link).symlink_to(target)
    with pytest.raises(InputError) as caught:
        walked(tree)
    # `b/inner` is reached through the link in `a` first.
    seen = {"b/inner/up": "a/linked/up"}.get(link, link)
    assert caught.value.message == (
        f"the link {tree / seen} leads back to {tree}, a folder above it"
    )


def test_two_links_into_each_other_are_a_loop(tree: Path) -> None:
    (tree / "a" / "to_b").symlink_to("../b")
    (tree / "b" / "to_a").symlink_to("../a")
    with pytest.raises(InputError, match=r"the link .*a/to_b/to_a leads back to .*/a, a folder"):
        walked(tree)


def test_a_folder_that_vanishes_meanwhile_is_an_error(tree: Path) -> None:
    listings = walk_folders(tree)
    next(listings)
    (tree / ".hidden" / "6.txt").unlink()
    (tree / ".hidden").rmdir()
    with pytest.raises(InputError, match=r"\.hidden cannot be listed: No such file"):
        list(listings)
