"""A store over any file system of fsspec: here one in memory, and one on S3 where that differs."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

from mixedparts.errors import InputError, UsageError
from mixedparts.remote.mirror import FixedMirror
from mixedparts.remote.store import Store
from tests.factories.object_store import Fault, FaultyProxy, ObjectStore, reach


@pytest.fixture(params=["memory", "s3"])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "s3":
        request.getfixturevalue("object_store")
        return Store(f"s3://bucket/{request.node.name}")
    return Store(f"memory://{request.node.name}/place")


def test_objects_are_listed_read_copied_and_removed(store: Store, tmp_path: Path) -> None:
    assert store.listing() == {}
    (tmp_path / "source").write_bytes(b"from a file")
    store.put({"b/file": tmp_path / "source"})
    store.write({"a": b"1", "b/c/d": b"four"})
    listed = store.listing()
    assert {name: item.size for name, item in listed.items()} == {"a": 1, "b/c/d": 4, "b/file": 11}
    assert all(item.modified for item in listed.values())
    assert list(store.listing("b")) == ["b/c/d", "b/file"]
    assert store.read(["a", "missing", "b/file"]) == {"a": b"1", "b/file": b"from a file"}
    store.get("b/file", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"from a file"
    store.below("b").copy(["file"], store.below("copies"))
    store.remove(["a", "b/file", "never there"])
    assert list(store.listing()) == ["b/c/d", "copies/file"]
    assert store.read(["copies/file"]) == {"copies/file": b"from a file"}
    store.end_uploads(lambda name: True)


def test_what_is_written_once_is_not_replaced(store: Store) -> None:
    assert store.create("plan", b"first")
    assert not store.create("plan", b"second")
    assert store.read(["plan"]) == {"plan": b"first"}


def test_a_missing_object_is_an_input_error(store: Store, tmp_path: Path) -> None:
    store.write({"other": b""})
    with pytest.raises(InputError, match=re.escape(f"{store.address}/missing is not there")):
        store.get("missing", tmp_path / "file")


def test_a_missing_file_here_is_no_answer_of_the_storage(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.put({"object": tmp_path / "missing"})


def test_a_store_travels_by_its_address(store: Store) -> None:
    store.write({"a": b"1"})
    assert pickle.loads(pickle.dumps(store)).read(["a"]) == {"a": b"1"}


def test_an_object_is_no_folder(object_store: ObjectStore) -> None:
    Store("s3://bucket/objects").write({"one": b"1"})
    with pytest.raises(UsageError, match="s3://bucket/objects/one is an object, not a folder"):
        Store("s3://bucket/objects/one").listing()


def test_marks_of_folders_are_no_objects(object_store: ObjectStore) -> None:
    files = object_store.files()
    files.call_s3("put_object", Bucket="bucket", Key="marks/", Body=b"")
    files.call_s3("put_object", Bucket="bucket", Key="marks/inner/", Body=b"")
    files.pipe("bucket/marks/inner/file", b"1")
    assert list(Store("s3://bucket/marks").listing()) == ["inner/file"]


def test_a_file_is_fetched_once_and_again_when_its_size_is_wrong(tmp_path: Path) -> None:
    store = Store("memory://once/place")
    store.write({"a/file": b"content"})
    copy = FixedMirror(store.address, tmp_path / "copy")
    copy.mark()
    assert copy.local("a/file", 7).read_bytes() == b"content"
    store.write({"a/file": b"another"})
    assert copy.local("a/file", 7).read_bytes() == b"content"
    (tmp_path / "copy/a/file").write_bytes(b"cut")
    assert copy.local("a/file", 7).read_bytes() == b"another"
    assert FixedMirror.at(tmp_path / "copy") is not None
    assert FixedMirror.at(tmp_path) is None
    assert [path.name for path in (tmp_path / "copy/a").iterdir()] == ["file"]


def test_a_file_that_fails_its_check_is_not_kept(tmp_path: Path) -> None:
    def refuse(path: Path) -> None:
        raise OSError("wrong digest")

    store = Store("memory://refused/place")
    store.write({"file": b"content"})
    with pytest.raises(OSError, match="wrong digest"):
        FixedMirror(store.address, tmp_path / "copy").local("file", 7, refuse)
    assert list((tmp_path / "copy").iterdir()) == []


def test_who_may_not_list_uploads_ends_none(
    store_server: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = FaultyProxy(store_server)
    proxy.faults = [Fault("403", lambda method, path: "uploads" in path)]
    reach(store_server.environment(proxy.port), monkeypatch)
    try:
        Store("s3://bucket").end_uploads(lambda name: True)
        assert len(proxy.faults[0].seen) == 1
    finally:
        proxy.close()
