"""Lines of a JSON-lines file from outside, which may be compressed by gzip."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from mixedparts.errors import InputError
from mixedparts.files.foreign import GZIP, HEAD, UTF8_MARK, not_utf8
from mixedparts.files.opening import open_file
from mixedparts.files.text import numbered_lines


def packed_lines(path: Path, subject: str, example: str) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file that are not blank, with their numbers from 1.

    Args:
        path: JSON lines, compressed by gzip or not, with or without a byte order mark.
        subject: what messages call the file, before its path.
        example: a file name for the command that turns a JSON list into such a file.

    Yields:
        Number and bytes of each line.

    Raises:
        InputError: the file cannot be read, or is not lines of text in UTF-8.
    """
    # EOFError and zlib.error come from a gzip file that was cut off or damaged.
    try:
        with open_file(path, subject) as file:
            yield from numbered_lines(_checked(path, subject, example, file))
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{subject} {path} cannot be read: {reason}") from error


def _checked(path: Path, subject: str, example: str, file: BinaryIO) -> BinaryIO:
    """Return the content of an open file, unpacked, if it begins like JSON lines.

    Raises:
        InputError: it is not text in UTF-8, or one JSON list; the message says how to convert it.
    """
    head, name = _head(file), path
    # By content and not by suffix: a compressed file may have any name.
    if head.startswith(GZIP):
        file = cast(BinaryIO, gzip.GzipFile(fileobj=file))
        head, name = _head(file), path.with_suffix("") if path.suffix == ".gz" else path
    clause = not_utf8(head, str(name))
    if clause is not None:
        unpacked = ", unpacked," if isinstance(file, gzip.GzipFile) else ""
        raise InputError(f"{subject} {path}{unpacked} {clause}")
    if head.removeprefix(UTF8_MARK).lstrip().startswith(b"["):
        raise InputError(
            f"{subject} {path} begins with a list; it must have one JSON object a line",
            f"Type: jq -c '.[]' {path} > {example}",
        )
    return file


def _head(file: BinaryIO) -> bytes:
    head = file.read(HEAD)
    file.seek(0)
    return head
