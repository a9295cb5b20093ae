"""What is not the expected file is named by its first bytes, with a command that works."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mixedparts.files.foreign import HEAD, not_utf8, packed_or_absent
from tests.factories.foreign_files import ACCEPTED, BOM, NAMED

TEXT = '{"images": [], "naïve": "é 猫 🐈"}\n'
UNPACKING = ["gzip", "bzip2", "xz", "UTF-16", "UTF-16LE", "UTF-16BE", "UTF-32", "UTF-32BE"]


@pytest.mark.parametrize("kind", NAMED)
def test_what_a_file_is_and_what_helps(kind: str) -> None:
    write, says, command = NAMED[kind]
    clause = not_utf8(write(TEXT)[:HEAD], "a.json")
    assert clause is not None
    assert clause.startswith(says)
    assert command in clause


@pytest.mark.parametrize("kind", ACCEPTED)
@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        "2008_000001\n",
        "a: 1\n",
        "<<: *base\n",
        "猫一二三\n",
        "<p> a </p>\n",
        "x\x00y, one NUL byte\n",
        "BZh9\n",
        "",
    ],
)
def test_text_in_utf_8_is_nothing_else(kind: str, text: str) -> None:
    assert not_utf8(ACCEPTED[kind](text)[:HEAD], "a.json") is None


@pytest.mark.parametrize("text", ["图片一\n第二张图片 一二三.jpg\n" * 30, "Ārsts Āda\n" * 30])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_mark_of_other_scripts(text: str, encoding: str) -> None:
    # 一 and Ā have a NUL byte at the other place of a unit than ASCII characters.
    clause = not_utf8(("\n" * 40 + text).encode(encoding)[:HEAD], "a.txt")
    assert clause is not None
    assert encoding.upper().replace("-L", "L").replace("-B", "B") in clause


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_compressed_file_with_and_without_its_suffix(suffix: str) -> None:
    clause = packed_or_absent(NAMED["gzip"][0](TEXT), "my files/a.json" + suffix)
    assert clause == (
        "is gzip-compressed: unpack it with `"
        + ("" if suffix else "mv 'my files/a.json' 'my files/a.json.gz' && ")
        + "gunzip 'my files/a.json.gz'`"
    )


@pytest.mark.parametrize("kind", UNPACKING)
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_command_makes_the_file_readable(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a file.json"
    path.write_bytes(NAMED[kind][0](TEXT))
    clause = not_utf8(path.read_bytes()[:HEAD], str(path)) or ""
    command = re.findall("`(.*)`", clause)[0]
    if any(shutil.which(word) is None for word in re.findall(r"(?:^|&& )(\w+) ", command)):
        pytest.skip("the tool is not installed")
    subprocess.run(["bash", "-c", command], check=True, capture_output=True)
    assert path.read_text(encoding="utf-8").removeprefix(BOM) == TEXT
