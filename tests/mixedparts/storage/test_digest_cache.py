"""The cache of digests: what it trusts, what it reads again, and what it survives."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from pathlib import Path

import pytest

from mixedparts.storage import digest_cache as module
from mixedparts.storage.digest_cache import DigestCache, Stamp, digest_cache

# `ctime` cannot be set, so tests move the clock that the cache compares it with.
HOUR = 3_600_000_000_000


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read for their digest."""
    names: list[str] = []

    def read(path: Path) -> str:
        names.append(path.name)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(module, "sha256_of", read)
    return names


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all files be an hour old."""
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + HOUR)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).write_text(name)
    return folder


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def caches(root: Path) -> Path:
    return Path(os.environ["XDG_CACHE_HOME"]) / "mixedparts" / "digests"


@pytest.mark.usefixtures("later")
def test_a_saved_digest_is_not_computed_again(root: Path, hashed: list[str]) -> None:
    file = root.parent / "cache.json"
    first = DigestCache(root, file)
    assert [first.sha256(name) for name in ("a", "b", "a")] == [digest(t) for t in "aba"]
    assert hashed == ["a", "b"]
    first.save()
    second = DigestCache(root, file)
    assert [second.sha256(name) for name in ("a", "b")] == [digest("a"), digest("b")]
    assert hashed == ["a", "b"]


@pytest.mark.usefixtures("later")
def test_an_edit_of_equal_size_with_its_time_restored_is_noticed(
    root: Path, hashed: list[str]
) -> None:
    cache = DigestCache(root, None)
    cache.sha256("a")
    status = (root / "a").stat()
    wait_for_the_clock(root)
    (root / "a").write_text("x")
    os.utime(root / "a", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert Stamp.of((root / "a").stat())[:2] == Stamp.of(status)[:2]
    assert cache.sha256("a") == digest("x")


@pytest.mark.usefixtures("later")
def test_a_file_in_place_of_another_is_noticed(root: Path, hashed: list[str]) -> None:
    cache = DigestCache(root, None)
    cache.sha256("a")
    status = (root / "a").stat()
    os.utime(root / "b", ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(root / "b", root / "a")
    assert cache.sha256("a") == digest("b")


def test_a_file_that_has_just_changed_is_read_again(root: Path, hashed: list[str]) -> None:
    file = root.parent / "cache.json"
    cache = DigestCache(root, file)
    os.utime(root / "a", ns=(0, 0))  # old by its modification, new by its change
    for _ in range(2):
        assert cache.sha256("a") == digest("a")
    assert hashed == ["a", "a"]
    cache.save()
    assert not file.exists()


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: b"\x00" * len(data),
        lambda data: data.replace(digest("a").encode(), digest("z").encode()),
        lambda data: data.replace(b'"format": 1', b'"format": 0'),
        lambda data: data.replace(b"/root", b"/toor"),
        lambda data: b"[]\n{}",
        lambda data: b"null\n[1, 2]",
    ],
)
def test_a_damaged_or_foreign_cache_is_ignored(
    root: Path, hashed: list[str], damage: object
) -> None:
    file = root.parent / "cache.json"
    cache = DigestCache(root, file)
    cache.sha256("a")
    cache.save()
    assert callable(damage)
    file.write_bytes(damage(file.read_bytes()))
    again = DigestCache(root, file)
    assert again.sha256("a") == digest("a")
    assert hashed == ["a", "a"]
    again.save()
    DigestCache(root, file).sha256("a")
    assert hashed == ["a", "a"]


@pytest.mark.usefixtures("later")
def test_an_entry_of_another_shape_under_a_right_checksum_is_ignored(root: Path) -> None:
    file = root.parent / "cache.json"
    for body in (b'{"a": [1]}', b'{"a": 7}', b"[]"):
        checksum = hashlib.sha256(body).hexdigest()
        head = {"format": 1, "root": str(root), "sha256": checksum}
        file.write_bytes(json.dumps(head).encode() + b"\n" + body)
        assert DigestCache(root, file).sha256("a") == digest("a")


@pytest.mark.usefixtures("later")
def test_a_cache_folder_that_cannot_be_written_costs_time_only(
    root: Path, monkeypatch: pytest.MonkeyPatch, hashed: list[str]
) -> None:
    blocked = root.parent / "blocked"
    blocked.write_text("a file, so no folder can be made here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    cache = digest_cache(root)
    assert cache.sha256("a") == digest("a")
    cache.save()
    monkeypatch.delenv("XDG_CACHE_HOME")

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    homeless = digest_cache(root)
    assert homeless.sha256("a") == digest("a")
    homeless.save()
    assert sorted(path.name for path in root.parent.iterdir()) == ["blocked", "root"]


@pytest.mark.usefixtures("later")
def test_files_and_folders_that_are_gone_are_dropped(root: Path) -> None:
    gone = root.parent / "gone"
    shutil.copytree(root, gone)
    old = digest_cache(gone)
    old.sha256("a")
    old.save()
    (stored,) = caches(root).iterdir()
    shutil.rmtree(gone)
    cache = digest_cache(root)
    cache.sha256("a")
    cache.sha256("b")
    (root / "b").unlink()
    cache.save()
    (mine,) = caches(root).iterdir()
    assert mine != stored
    assert json.loads(mine.read_bytes().split(b"\n")[1]).keys() == {"a"}


@pytest.mark.usefixtures("later")
def test_what_a_program_has_hashed_itself_is_known_unless_it_changed_later(
    root: Path, hashed: list[str]
) -> None:
    cache = DigestCache(root, None)
    cache.know("a", digest("a"), time.time_ns())
    cache.know("b", digest("wrong"), 0)
    cache.know("none", digest("none"), time.time_ns())
    assert cache.sha256("a") == digest("a")
    assert cache.sha256("b") == digest("b")
    assert hashed == ["b"]


def test_two_spellings_of_a_folder_have_one_cache(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root.parent)
    assert digest_cache(Path("root")) is digest_cache(root / ".." / "root")


def wait_for_the_clock(folder: Path) -> None:
    """Wait until a change gets another time than the last one: file systems count in ticks."""
    probe = folder.parent / "probe"
    probe.touch()
    before = probe.stat().st_ctime_ns
    while probe.stat().st_ctime_ns == before:
        probe.touch()
