"""A stored index is that of the file as it is, or is not used."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import pytest

from builders.bases import coco_index, index_cache
from builders.bases.coco_index import CocoIndex, open_index, plain_path
from builders.bases.index_cache import index_rules
from mixedparts.storage import digest_cache


def image_key(record_id: str, file_name: str) -> str:
    return record_id


@pytest.fixture(autouse=True)
def every_file_is_large_and_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_cache, "_LEAST_BYTES", 0)
    monkeypatch.setattr(digest_cache, "_RACY_NS", -1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with every kind of fault that an index holds."""
    names = {8: "1.jpg"}
    ids: list[int | str] = [1, 2, 3, 4, 2, "x", 8]
    images = [{"id": k, "file_name": names.get(k, f"{k}.jpg")} for k in ids]
    annotations = [{"id": k, "image_id": owner} for k, owner in
                   enumerate([3, 1, 1, 99, "x", 2, 4.0, True, None, 2**70, 1])]  # fmt: skip
    annotations.append({"id": 1, "image_id": 3})
    categories = [{"id": 1, "name": "dog"}, {"id": 1}, {"name": "no id"}, {"id": "b", "name": "ü"}]
    path = tmp_path / "annotations.json"
    body = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(body))
    return path


def content(index: CocoIndex) -> list[Any]:
    return [
        [bytes(index.images.raw(at)) for at in range(len(index.images))],
        [bytes(index.annotations.raw(at)) for at in range(len(index.annotations))],
        [index.annotations_of(at).tolist() for at in range(len(index.images))],
        index.categories, index.category_faults, index.first_images, index.first_files,
        index.duplicate_annotations.tolist(), index.strays.tolist(), list(index.stray_faults()),
    ]  # fmt: skip


def opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[CocoIndex, bool]:
    """Open an index as a new process does; return it, and whether the file was parsed."""
    parsed = []
    original = CocoIndex._index

    def index(self: CocoIndex, *keys: Any) -> Any:
        parsed.append(self)
        return original(self, *keys)

    coco_index._cached_index.cache_clear()
    monkeypatch.setattr(CocoIndex, "_index", index)
    found = open_index(path, image_key)
    monkeypatch.setattr(CocoIndex, "_index", original)
    return found, bool(parsed)


def stored() -> Path:
    (path,) = (index_cache.cache_folder() / "indices").glob("*.npz")
    return path


def test_a_stored_index_equals_a_new_one(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, parsed = opened(file, monkeypatch)
    again, parsed_again = opened(file, monkeypatch)
    assert (parsed, parsed_again) == (True, False)
    assert content(again) == content(first)
    assert content(first)[3]["1"].name == "dog"
    assert content(first)[5] == {4: 1}
    assert content(first)[6] == {6: 0}
    assert sum(content(first)[7]) == 1


def test_a_changed_file_is_parsed_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, _ = opened(file, monkeypatch)
    file.write_text(file.read_text().replace('"dog"', '"cat"'))
    os.utime(file, ns=(1, 1))
    after, parsed = opened(file, monkeypatch)
    assert parsed
    assert (before.categories["1"].name, after.categories["1"].name) == ("dog", "cat")


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "text"])
def test_a_damaged_index_only_costs_time(
    file: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    sound, _ = opened(file, monkeypatch)
    data = bytearray(stored().read_bytes())
    at = data.index(np.arange(1, dtype=np.int64).tobytes(), len(data) // 2)
    data[at] ^= 1
    damaged = {"cut": data[:100], "empty": b"", "flipped": data, "text": b"no archive"}
    stored().write_bytes(damaged[damage])
    again, parsed = opened(file, monkeypatch)
    assert parsed
    assert content(again) == content(sound)


def test_a_file_with_literals_that_are_blanked_is_not_stored(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(file.read_text().replace('"image_id": 99', '"image_id": NaN'))
    first, _ = opened(file, monkeypatch)
    again, parsed = opened(file, monkeypatch)
    assert parsed
    assert content(again) == content(first)


def test_a_file_that_changed_just_now_is_not_stored(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digest_cache, "_RACY_NS", 10**18)
    opened(file, monkeypatch)
    assert opened(file, monkeypatch)[1]


def test_a_cache_folder_that_cannot_be_written_only_costs_time(
    file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file, not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    first, _ = opened(file, monkeypatch)
    assert content(opened(file, monkeypatch)[0]) == content(first)


def upper(file_name: str) -> str:
    return file_name.upper()


def test_rules_name_functions_and_their_code() -> None:
    rules = index_rules(image_key, plain_path)
    assert rules == index_rules(image_key, plain_path) != index_rules(image_key, upper)
    edited = FunctionType(plain_path.__code__, globals(), "upper")
    edited.__qualname__, edited.__module__ = "upper", __name__
    assert index_rules(edited) != index_rules(upper)


def test_functions_whose_name_does_not_say_what_they_do_have_no_rules() -> None:
    def nested(file_name: str) -> str:
        return file_name

    for function in (nested, partial(upper), "text".startswith, Path("x").joinpath, lambda n: n):
        assert index_rules(upper, function) is None
