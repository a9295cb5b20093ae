"""One text in every form that a reader accepts, and in forms that it names with the command."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable

BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"


def _lines(end: str) -> Callable[[str], bytes]:
    return lambda text: text.replace("\n", end).encode()


ACCEPTED: dict[str, Callable[[str], bytes]] = {
    "LF": _lines("\n"),
    "CRLF": _lines("\r\n"),
    "CR": _lines("\r"),
    "mark": lambda text: (BOM + text).encode(),
    "mark and CRLF": lambda text: (BOM + text.replace("\n", "\r\n")).encode(),
    "no newline at the end": lambda text: text.rstrip("\n").encode(),
}
"""Name of a form -> how to write a text (with LF) in it. All forms mean the same text."""


def _zip(text: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("inner", text)
    return file.getvalue()


def _tar(text: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("inner")
        member.size = len(text.encode())
        archive.addfile(member, io.BytesIO(text.encode()))
    return file.getvalue()


NAMED: dict[str, tuple[Callable[[str], bytes], str, str]] = {
    "gzip": (lambda text: gzip.compress(text.encode()), "is gzip-compressed", "gunzip"),
    "bzip2": (lambda text: bz2.compress(text.encode()), "is bzip2-compressed", "bunzip2"),
    "xz": (lambda text: lzma.compress(text.encode()), "is xz-compressed", "unxz"),
    "zstd": (lambda text: b"\x28\xb5\x2f\xfd" + text.encode(), "is zstd-compressed", "unzstd"),
    "zip": (_zip, "is a zip archive", "unzip"),
    "7z": (lambda text: b"7z\xbc\xaf\x27\x1c" + text.encode(), "is a 7z archive", "7z x"),
    "tar": (_tar, "is a tar archive", "tar -xf"),
    "UTF-16": (lambda text: text.encode("utf-16"), "is UTF-16 text", "iconv -f UTF-16 -t UTF-8"),
    "UTF-16LE": (lambda text: text.encode("utf-16-le"), "is UTF-16LE text", "iconv -f UTF-16LE"),
    "UTF-16BE": (lambda text: text.encode("utf-16-be"), "is UTF-16BE text", "iconv -f UTF-16BE"),
    "UTF-32": (lambda text: text.encode("utf-32"), "is UTF-32 text", "iconv -f UTF-32 -t UTF-8"),
    "UTF-32BE": (lambda text: text.encode("utf-32-be"), "is UTF-32BE text", "iconv -f UTF-32BE"),
    "web page": (lambda _: b"\n<!DOCTYPE html><html>Sign in", "is a web page", "download it again"),
    "web page without a type": (lambda _: b"<html>403</html>", "is a web page", "download it"),
    "pointer": (
        lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "is a pointer of Git LFS",
        "git lfs pull",
    ),
    "image": (lambda _: b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "is a PNG image", "the right file"),
    "zeros": (lambda text: bytes(len(text)), "begins with NUL bytes", "get the file again"),
}
"""Name of a form -> how to write a text in it, what the message says, and the command in it."""
