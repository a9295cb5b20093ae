"""The one door for text files from outside: JSON, lists, YAML, tables and predictions.

All readers accept UTF-8 with or without a byte order mark, and the line ends LF, CRLF and CR. What
is not such a file is named in one message with the command that helps (`mixedparts.files.foreign`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mixedparts.errors import InputError
from mixedparts.files.foreign import HEAD, UTF8_MARK, not_utf8
from mixedparts.files.opening import open_file, reason

_SURROGATE = re.compile(r"\\(u|U0000)d[89a-f]", re.IGNORECASE)


def read_bytes(
    path: Path, subject: str = "", hint: str | None = None, empty: bool = False
) -> bytes:
    """Read a whole file that should be text in UTF-8, without decoding it.

    Args:
        path: the file.
        subject: what messages call it, before its path.
        hint: what helps if the file is missing, damaged or another one.
        empty: accept a file without content.

    Returns:
        Its bytes, with a byte order mark if it has one.

    Raises:
        InputError: as `open_file`; or the file is empty, packed, or of a known kind that is not
            text in UTF-8.
    """
    name = f"{subject} {path}".lstrip()
    with open_file(path, subject, hint) as file:
        try:
            data = file.read()
        except OSError as error:
            raise InputError(f"{name} {reason(path, error)}", hint) from None
    clause = not_utf8(data[:HEAD], str(path))
    if clause is not None:
        raise InputError(f"{name} {clause}", hint)
    if not empty and not data.removeprefix(UTF8_MARK).strip():
        raise InputError(f"{name} is empty", hint)
    return data


def read_text(path: Path, subject: str = "", hint: str | None = None, empty: bool = False) -> str:
    r"""Read a whole text file.

    Args:
        path: the file.
        subject: what messages call it, before its path.
        hint: what helps if the file is missing, damaged or another one.
        empty: accept a file without content.

    Returns:
        Its text without a byte order mark, with `\n` at the end of each line.

    Raises:
        InputError: as `read_bytes`; or the text is not UTF-8.
    """
    data = read_bytes(path, subject, hint, empty)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{subject} {path} {_not_utf8_at(data, error)}".lstrip(), hint) from None
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def read_lines(
    path: Path, subject: str = "", hint: str | None = None, empty: bool = False
) -> list[str]:
    """Read the lines of a text file.

    Args:
        path: the file.
        subject: what messages call it, before its path.
        hint: what helps if the file is missing, damaged or another one.
        empty: accept a file without content.

    Returns:
        The lines without their ends and without byte order marks, blank ones included.

    Raises:
        InputError: as `read_text`.
    """
    # Not `splitlines`, which also divides at characters that names may contain. Files that were
    # joined have a byte order mark in the middle.
    lines = read_text(path, subject, hint, empty).split("\n")
    return [line.removeprefix("\ufeff") for line in lines]


def read_json(path: Path, subject: str = "", hint: str | None = None) -> Any:
    """Read a JSON file as plain Python values.

    Args:
        path: the file, small enough for memory.
        subject: what messages call it, before its path.
        hint: what helps if the file is missing, damaged or another one.

    Returns:
        The value.

    Raises:
        InputError: as `read_text`; or the text is not JSON.
    """
    text = read_text(path, subject, hint)
    try:
        return parse_json(text)
    except ValueError as error:
        fault = f"is not valid JSON: {error}{beginning(text.encode()[:HEAD])}"
    raise InputError(f"{subject} {path} {fault}".lstrip(), hint)


def parse_json(text: str) -> Any:
    """Return a JSON text as plain Python values.

    Raises:
        ValueError: it is not JSON, is nested too deeply, or has half of a character.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    check_surrogates(text, value)
    return value


def check_surrogates(text: str, value: Any) -> None:
    r"""Check that the texts in the value of a JSON or YAML text can be written and printed.

    Raises:
        ValueError: an escape such as \ud800 encodes half of a character.
    """
    if _SURROGATE.search(text) is None:
        return
    try:
        json.dumps(value, ensure_ascii=False, default=str, skipkeys=True).encode()
    except UnicodeEncodeError:
        raise ValueError("it has half of a surrogate pair, which is not a character") from None


def literal_note(raw: bytes) -> str:
    """Return a clause about a NaN or Infinity in a line that strict JSON refuses, or ""."""
    # Python's json writes them for numbers that no reader can use.
    found: list[str] = []
    try:
        json.loads(raw, parse_constant=found.append)
    except (ValueError, RecursionError):
        return ""
    return f"; {found[0]} is no number in JSON: numbers must be finite" if found else ""


def read_own_json(path: Path) -> Any:
    """Return the value in a JSON file that an earlier run wrote.

    Returns:
        The value; None where there is no such file, or a damaged one, which counts as none.
    """
    try:
        return read_json(path)
    except InputError:
        return None


def numbered_lines(file: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of an open file that are not blank, with their numbers from 1.

    Line ends may be LF, CRLF or CR. A byte order mark at the start of a line is left out.
    """
    number = 0
    for chunk in file:
        # A file iterates over lines that end in LF. JSON has no bare CR within a text.
        ended = chunk.removesuffix(b"\n").removesuffix(b"\r")
        for line in ended.split(b"\r") if b"\r" in ended else (ended,):
            number += 1
            bare = line.removeprefix(UTF8_MARK)
            if bare.strip():
                yield number, bare


def _not_utf8_at(data: bytes, error: UnicodeDecodeError) -> str:
    """Return a clause that names the first byte of a file that is not UTF-8, and its place."""
    before = data[: error.start].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    line = before.count(b"\n") + 1
    return (
        f"is not text in UTF-8: byte {error.start:,} (line {line:,}) is"
        f" 0x{data[error.start]:02X}; convert the file, for example with"
        " `iconv -f LATIN1 -t UTF-8`"
    )


def beginning(head: bytes) -> str:
    """Return how a file begins that should be JSON, as a clause; empty if it begins as JSON."""
    # A saved answer of a server, such as `404: Not Found`, explains itself.
    text = head.removeprefix(UTF8_MARK).lstrip()
    if not text or text[:1] in b"{[":
        return ""
    return f"; it begins with {text[:40].decode('utf-8', 'replace')!r}"
