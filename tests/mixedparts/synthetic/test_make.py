"""Runs of make_sources: same bytes, refusals, and what an interrupted run leaves."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

import pytest

from mixedparts.errors import EnvironmentFault, UsageError
from mixedparts.synthetic import MARKER, make_sources
from mixedparts.synthetic.native import split_of
from tests.factories.synthetic import IMAGES, SEED
from tests.oracles.digests import digests


def silent(done: int, total: int) -> None:
    """Say nothing."""


def test_two_workers_write_the_bytes_of_one(synthetic_root: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    make_sources(tmp_path / "two", IMAGES, SEED, 2, lambda done, total: calls.append((done, total)))
    assert digests(tmp_path / "two") == digests(synthetic_root)
    assert calls[0] == (0, 3 * IMAGES)
    assert calls[-1] == (3 * IMAGES, 3 * IMAGES)
    assert calls == sorted(calls)


def test_a_picture_does_not_depend_on_how_many_there_are(
    synthetic_root: Path, tmp_path: Path
) -> None:
    make_sources(tmp_path, 5, SEED, 1, silent)
    few, many = digests(tmp_path), digests(synthetic_root)
    pictures = {name for name in few if name.lower().endswith(("jpg", "jpeg", "png"))}
    assert len(pictures) == 5 * (1 + 3 + 2)
    assert {name: few[name] for name in pictures} == {name: many[name] for name in pictures}


def test_another_seed_gives_other_pictures_and_leaves_no_old_ones(tmp_path: Path) -> None:
    make_sources(tmp_path / "a", 4, 1, 1, silent)
    make_sources(tmp_path / "b", 7, 2, 1, silent)
    make_sources(tmp_path / "b", 4, 1, 1, silent)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    make_sources(tmp_path / "b", 4, 2, 1, silent)
    first = "coco/train2017/000900000000.jpg"
    assert digests(tmp_path / "a")[first] != digests(tmp_path / "b")[first]


def test_an_interrupted_run_leaves_no_annotation_file_and_can_be_repeated(
    synthetic_root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "sources"
    make_sources(out, 3, SEED, 1, silent)  # its annotations must not outlive their pictures

    def stop(done: int, total: int) -> None:
        if done >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_sources(out, IMAGES, SEED, 1, stop)
    left = [name for name in digests(out) if name.endswith((".json", ".tmp"))]
    assert left == []
    assert len(list(out.glob("coco/*/*.jpg"))) >= 16
    make_sources(out, IMAGES, SEED, 1, silent)
    assert digests(out) == digests(synthetic_root)


@pytest.mark.parametrize("root", ["paco", "coco", "PartImageNet", "ADE20KPart234"])
def test_foreign_files_are_refused_and_untouched(tmp_path: Path, root: str) -> None:
    theirs = tmp_path / root / "real.jpg"
    theirs.parent.mkdir()
    theirs.write_bytes(b"real")
    with pytest.raises(UsageError, match=root):
        make_sources(tmp_path, 2, 0, 1, silent)
    assert digests(tmp_path) == {f"{root}/real.jpg": hashlib.sha256(b"real").hexdigest()}


def test_bad_numbers_are_told_together(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"images.*seed.*workers"):
        make_sources(tmp_path / "out", 0, -1, 0, silent)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(EnvironmentFault, match="file"):
        make_sources(blocked / "out", 2, 0, 1, silent)


def test_a_full_disk_is_one_clear_error_and_leaves_no_annotation_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = Path.write_bytes, []

    def until_full(path: Path, data: bytes) -> int:
        written.append(path)
        if len(written) > 20:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", until_full)
    with pytest.raises(EnvironmentFault, match="No space left"):
        make_sources(tmp_path, 40, 0, 1, silent)
    names = set(digests(tmp_path))
    assert any(name.endswith(".jpg") for name in names)
    assert not any(name.endswith((".json", ".tmp")) for name in names)


def test_every_layout_is_marked(synthetic_root: Path) -> None:
    marked = {path.parent.name for path in synthetic_root.rglob(MARKER)}
    assert marked == {"paco", "coco", "PartImageNet", "ADE20KPart234"}


def test_splits_have_the_promised_shares() -> None:
    splits = [split_of(index) for index in range(1000)]
    assert [splits.count(name) for name in ("train", "val", "test")] == [700, 150, 150]
    assert {split_of(index) for index in range(8)} == {"train", "val", "test"}
