"""Files as a whole: what is read although it is odd, and the one error for what is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.bases.coco_index import open_index
from builders.formats.json_file import JsonFile, decode_untyped
from mixedparts.errors import InputError

LISTS = ("images", "annotations", "categories")
EMPTY: dict[str, Any] = {key: [] for key in LISTS}


def text_of(value: Any, **options: Any) -> bytes:
    return json.dumps(value, **options).encode()


def by_id(record_id: str, file_name: str) -> str:
    return record_id


def records(path: Path, kind: str = "annotations") -> list[bytes]:
    file = JsonFile(path)
    found = file.records(getattr(file.lists(), kind))
    return [bytes(found.raw(position)) for position in range(len(found))]


@pytest.mark.parametrize("options", [{}, {"indent": 2}, {"separators": (",", ":")}])
@pytest.mark.parametrize("head", [b"", b"\xef\xbb\xbf", b" \n\t\r", b"\xef\xbb\xbf\n"])
def test_records_come_back_byte_for_byte(tmp_path: Path, options: Any, head: bytes) -> None:
    items = [{"id": 1, "name": 'a "quoted", [text] é \\ {'}, None, [], 5, "x", [[1, {"b": []}]]]
    path = tmp_path / "a.json"
    content = {"info": {"a": [1]}, **EMPTY, "annotations": items, "more": None}
    path.write_bytes(head + text_of(content, **options) + b"\n")
    assert [json.loads(raw) for raw in records(path)] == items
    assert records(path, "images") == []


NUMBERS = st.sampled_from([float("nan"), float("inf"), float("-inf"), 1.5, -3])
TEXTS = st.text(max_size=5) | st.sampled_from(
    ["NaN", "-Infinity", 'a", NaN, "', "\\", '\\"', "[NaN", "N", "I", "\\u0022NaN"]
)
VALUES = st.recursive(
    NUMBERS | TEXTS | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def blanked(value: Any) -> Any:
    """Return what is left of a value when its non-finite numbers are empty texts."""
    if isinstance(value, list):
        return [blanked(item) for item in value]
    if isinstance(value, dict):
        return {key: blanked(item) for key, item in value.items()}
    odd = isinstance(value, float) and (value != value or value in (float("inf"), float("-inf")))
    return "" if odd else value


@settings(max_examples=200)
@given(st.lists(VALUES, max_size=5), st.booleans())
def test_non_finite_numbers_are_blanked_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, items: list[Any], plain: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "non_finite.json"
    path.write_bytes(text_of({**EMPTY, "annotations": items}, ensure_ascii=plain))
    assert [json.loads(raw) for raw in records(path)] == [blanked(item) for item in items]


def test_the_file_itself_is_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text_of({**EMPTY, "annotations": [float("nan"), float("-inf")]}))
    before = path.read_bytes()
    path.chmod(0o444)
    file = JsonFile(path)
    found = file.records(file.lists().annotations)
    file.release()  # what was blanked must outlive this
    assert [bytes(found.raw(i)).split() for i in range(2)] == [[b'""'], [b'""']]
    assert path.read_bytes() == before


GOOD = text_of({**EMPTY, "images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"id": 2}]})
BROKEN = {
    "empty": (b"", "empty"),
    "blank": (b" \n", "not valid JSON"),
    "cut": (GOOD[:-20], "not valid JSON"),
    "cut in a text": (GOOD[:35], "not valid JSON"),
    "more after the end": (GOOD + b"]", "byte"),
    "two values": (GOOD + GOOD, "byte"),
    "comma too many": (GOOD[:-1] + b",}", "byte"),
    "single quotes": (GOOD.replace(b'"', b"'"), "byte"),
    "cut NaN": (b'{"images": [Na', "not valid JSON"),
    "nan": (b'{"images": [nan], "annotations": [], "categories": []}', "byte"),
    "control character": (b'{"images": ["\x01"]}', "byte"),
    "no JSON": (b"\x89PNG\r\n\x1a\n\x00\x00", "byte"),
    "a gzip": (b"\x1f\x8b\x08\x00" * 9, "byte"),
    "utf-16": (GOOD.decode().encode("utf-16"), "not valid JSON"),
    "zeros": (b"\x00" * 4096, "byte"),
    "a web page": (b"<!DOCTYPE html><html>Quota exceeded</html>", "byte"),
    "a pointer file": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "byte"),
    "a list": (b"[]", "not a JSON object"),
    "a text": (b'"images"', "not a JSON object"),
    "null": (b"null", "not a JSON object"),
    "nested without end": (b'{"x": ' + b"[" * 200_000, "nested"),
    "nested": (b'{"images": ' + b"[" * 9_000 + b"]" * 9_000 + b"}", "nested"),
    "nested in a record": (
        text_of({**EMPTY}).replace(b'"images": []', b'"images": [' + b"[" * 9_000 + b"]" * 9_001),
        "nested",
    ),
}


@pytest.mark.parametrize(("content", "cause"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_one_error(tmp_path: Path, content: bytes, cause: str) -> None:
    path = tmp_path / "paco_lvis_v1_train.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        open_index(path, by_id)
    assert str(path) in caught.value.message
    assert cause in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_code == 3
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("key", LISTS)
@pytest.mark.parametrize("value", [None, {}, "[]", 5, True, float("nan")])
def test_a_list_that_is_none_is_one_error(tmp_path: Path, key: str, value: object) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text_of({**EMPTY, key: value}))
    with pytest.raises(InputError, match=f"`{key}` is not a list"):
        open_index(path, by_id)


@pytest.mark.parametrize("key", LISTS)
def test_a_missing_list_is_one_error(tmp_path: Path, key: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text_of({k: [] for k in LISTS if k != key}))
    with pytest.raises(InputError, match=f"no list `{key}`"):
        open_index(path, by_id)


def test_what_is_no_file_is_one_error(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.json", tmp_path, tmp_path / ("x" * 300)):
        with pytest.raises(InputError) as caught:
            open_index(path, by_id)
        assert str(path) in caught.value.message


def test_every_cut_of_a_file_is_an_error_or_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for stop in range(len(GOOD)):
        path.write_bytes(GOOD[:stop])
        with pytest.raises(InputError):
            JsonFile(path).lists()


def test_a_changed_file_is_indexed_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(GOOD)
    first = open_index(path, by_id)
    assert open_index(path, by_id) is first
    path.write_bytes(text_of(EMPTY))
    assert len(open_index(path, by_id).images) == 0


def test_annotations_are_grouped_by_image_in_file_order(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    images = [{"id": name, "file_name": "x"} for name in (30, "10", "b", 20.0, 10**25)]
    owners = [20, "b", 10, "30", 5, 20.0, None, "20", 10.0, str(10**25), "c", 1e25]
    notes = [{"id": index, "image_id": owner} for index, owner in enumerate(owners)]
    path.write_bytes(text_of({"images": images, "annotations": notes, "categories": []}))
    index = open_index(path, by_id)
    groups = [index.annotations_of(position).tolist() for position in range(len(images))]
    assert groups == [[3], [2, 8], [1], [0, 5, 7], [9]]
    assert index.strays.tolist() == [4, 6, 10, 11]  # 1e25 is not 10**25


@given(st.binary(max_size=40))
def test_loose_raises_nothing_but_value_errors(raw: bytes) -> None:
    try:
        decode_untyped(memoryview(raw))
    except ValueError:
        return
