"""The functions that open text files: one text in many forms, and one message for what is none."""

from __future__ import annotations

import io
import os
import socket
from pathlib import Path

import pytest

from mixedparts.errors import InputError
from mixedparts.files.opening import check_unpacked, is_there
from mixedparts.files.text import numbered_lines, read_json, read_lines, read_text
from mixedparts.settings.yaml_file import read_yaml_mapping
from mixedparts.sources.yaml_entries import load_yaml
from tests.factories.foreign_files import ACCEPTED, BOM, NAMED


@pytest.mark.parametrize("form", ACCEPTED)
def test_every_form_is_the_same_text(tmp_path: Path, form: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(ACCEPTED[form]("één\n\n zwei\u2028x \n"))
    assert read_text(path).rstrip("\n") == "één\n\n zwei\u2028x "
    # U+2028 divides lines for `str.splitlines`; here it is part of a name.
    assert [line for line in read_lines(path) if line] == ["één", " zwei\u2028x "]
    path.write_bytes(ACCEPTED[form]('{"é":\n [1, NaN]}\n'))
    assert str(read_json(path)) == "{'é': [1, nan]}"


@pytest.mark.parametrize("form", NAMED)
def test_every_other_form_is_named(tmp_path: Path, form: str) -> None:
    write, says, command = NAMED[form]
    path = tmp_path / "a.txt"
    path.write_bytes(write("one\ntwo, three\n"))
    with pytest.raises(InputError) as caught:
        read_text(path, "the list")
    assert caught.value.message.startswith(f"the list {path} {says}")
    assert command in caught.value.message
    assert caught.value.exit_code == 3


def test_the_byte_and_the_line_that_are_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\rcaf\xe9\n")
    with pytest.raises(InputError, match=r"not text in UTF-8: byte 15 \(line 3\) is 0xE9; .*iconv"):
        read_text(path)


def test_what_is_no_file_is_named_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("gone.txt")
    (tmp_path / "empty").write_bytes(b"\xef\xbb\xbf \r\n")
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(tmp_path / "socket"))
        expected = {
            "pipe": "cannot be read: it is a pipe, not a file",
            "folder": "cannot be read: it is a folder, not a file",
            "socket": "cannot be read: it is a socket, not a file",
            "link": "cannot be read: it is a link to gone.txt, which is not there",
            "none": "cannot be read: it is not there",
            "empty/below": "cannot be read: it is not there",
            "empty": "is empty",
        }
        for name, says in expected.items():
            with pytest.raises(InputError) as caught:
                read_text(tmp_path / name, "the table", "Look again.")
            assert str(caught.value) == f"the table {tmp_path / name} {says}\nLook again."
    with pytest.raises(InputError, match="/dev/null cannot be read: it is a device, not a file"):
        read_text(Path("/dev/null"))
    assert read_text(tmp_path / "empty", empty=True) == " \n"


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x")

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    # Not by its mode: root reads every file.
    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(InputError, match=r"a\.txt cannot be read: Permission denied"):
        read_text(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("404: Not Found", "it begins with '404: Not Found'"),
        ('{"a": 1', "is not valid JSON: Expecting"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_not_json(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(InputError) as caught:
        read_json(tmp_path / "a.json")
    assert says in caught.value.message


def test_lines_of_bytes_have_the_numbers_of_an_editor() -> None:
    data = f"{BOM}a\r\n\r\nb\rc\r\r\n{BOM}d\n  \ne".encode()
    found = list(numbered_lines(io.BytesIO(data)))
    assert found == [(1, b"a"), (3, b"b"), (4, b"c"), (6, b"d"), (8, b"e")]


def test_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to("gone")
    (tmp_path / "file").touch()
    names = ("link", "file", "file/below", "none")
    assert [is_there(tmp_path / name) for name in names] == [True, True, False, False]

    def refused(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "lstat", refused)
    with pytest.raises(InputError, match="file cannot be read: Permission denied"):
        is_there(tmp_path / "file")


def test_a_binary_file_may_be_utf_16_but_not_packed(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes("text".encode("utf-16"))
    check_unpacked(path)
    path.write_bytes(NAMED["pointer"][0](""))
    with pytest.raises(InputError, match=r"the weights .*a\.bin is a pointer of Git LFS"):
        check_unpacked(path, "the weights")


def test_half_a_character_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for text in (r'{"a": ["\uD800"]}', r'{"\udfff": 1}', r'["\ud83d \ude00"]'):
        path.write_text(text)
        with pytest.raises(InputError, match="half of a surrogate pair"):
            read_json(path)
    path.write_text(r'["\ud83d\ude00", "\\ud800"]')
    assert read_json(path) == ["\N{GRINNING FACE}", "\\ud800"]
    # YAML has the same escapes, and longer ones.
    for text in (r'name: "\ud800"', r'name: "\U0000D800"'):
        path.write_text(text)
        with pytest.raises(InputError, match="half of a surrogate pair"):
            read_yaml_mapping(path)
        # libyaml refuses the escapes itself.
        with pytest.raises(InputError, match=r"half of a surrogate pair|invalid Unicode"):
            load_yaml(text, "a.yaml")
