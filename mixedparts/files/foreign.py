"""Name files that are not what a reader expects, by their first bytes.

A download can be packed, a pointer or a saved web page instead of the file; editors and shells of
Windows write UTF-16. A parser calls all of them "malformed at byte 0".
"""

from __future__ import annotations

import re
import shlex
from typing import NamedTuple

HEAD = 4096
"""Bytes from the start of a file that are enough to name it."""

UTF8_MARK = b"\xef\xbb\xbf"
"""The byte order mark of UTF-8, which some editors write."""

GZIP = b"\x1f\x8b"


class _Packed(NamedTuple):
    """A packed file: its first bytes, what it is, its usual suffix, and what unpacks it."""

    magic: bytes
    name: str
    suffix: str
    command: str


_PACKED = (
    _Packed(GZIP, "gzip-compressed", ".gz", "gunzip"),
    _Packed(b"\xfd7zXZ\x00", "xz-compressed", ".xz", "unxz"),
    _Packed(b"\x28\xb5\x2f\xfd", "zstd-compressed", ".zst", "unzstd"),
    _Packed(b"\x1f\x9d", "compressed by `compress`", ".Z", "gunzip"),
    _Packed(b"\x5d\x00\x00", "lzma-compressed", ".lzma", "unlzma"),
    _Packed(b"\x04\x22\x4d\x18", "lz4-compressed", ".lz4", "unlz4"),
    _Packed(b"LZIP", "lzip-compressed", ".lz", "lzip -d"),
    _Packed(b"PK\x03\x04", "a zip archive", ".zip", "unzip"),
    _Packed(b"PK\x05\x06", "a zip archive without a file in it", ".zip", "unzip"),
    _Packed(b"7z\xbc\xaf\x27\x1c", "a 7z archive", ".7z", "7z x"),
    _Packed(b"Rar!\x1a\x07", "a rar archive", ".rar", "unrar x"),
)
_BZIP2 = _Packed(b"BZh", "bzip2-compressed", ".bz2", "bunzip2")
# What follows `BZh` and a digit: the start of a block, or the end of an empty file.
_BZIP2_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")
_TAR = _Packed(b"ustar", "a tar archive", ".tar", "tar -xf")
_TAR_MAGIC_AT = 257

_POINTERS = {
    b"version https://git-lfs.github.com/spec/": ("Git LFS", "git lfs pull"),
    b"/annex/objects/": ("git-annex", "git annex get"),
}
_PAGE = re.compile(rb"\s*<(!doctype|html|head|body|script|!--|\?xml)", re.IGNORECASE)

_BINARY = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"%PDF-": "a PDF document",
    b"PAR1": "a Parquet table",
    b"\x89HDF": "an HDF5 file",
    b"MATLAB 5.0 MAT-file": "a MATLAB file",
    b"\x93NUMPY": "a NumPy array",
    b"SQLite format 3\x00": "an SQLite database",
    b"\xd0\xcf\x11\xe0": "an Office document",
    b"{\\rtf": "an RTF document",
}

# The mark of UTF-32 begins with that of UTF-16, so it comes first.
_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


def packed_or_absent(head: bytes, name: str) -> str | None:
    """Return what a file is in place of the expected content, and the command that helps.

    Args:
        head: the first `HEAD` bytes of the file.
        name: how the command names the file.

    Returns:
        A clause such as "is gzip-compressed: unpack it with `gunzip a.json.gz`" for a packed file,
        a pointer and a web page; None for everything else.
    """
    for magic, (system, command) in _POINTERS.items():
        if head.startswith(magic):
            return f"is a pointer of {system}, not the file itself: fetch it with `{command}`"
    if _PAGE.match(head.removeprefix(UTF8_MARK)):
        return "is a web page (HTML or XML), such as a saved login or error page: download it again"
    packed = next((item for item in _PACKED if head.startswith(item.magic)), None)
    if head.startswith(_BZIP2.magic) and head[4:10] in _BZIP2_BLOCKS:
        packed = _BZIP2
    if head[_TAR_MAGIC_AT:].startswith(_TAR.magic):
        packed = _TAR
    return None if packed is None else f"is {packed.name}: unpack it with `{_unpack(packed, name)}`"


def not_utf8(head: bytes, name: str) -> str | None:
    """Return what a file is that should be text in UTF-8, and the command that helps.

    Args:
        head: the first `HEAD` bytes of the file.
        name: how the command names the file.

    Returns:
        A clause as from `packed_or_absent`, also for UTF-16, UTF-32 and well-known binary files;
        None where the first bytes can be text in UTF-8.
    """
    clause = packed_or_absent(head, name)
    if clause is not None:
        return clause
    encoding = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)
    encoding = encoding or _encoding_without_mark(head)
    if encoding is not None:
        quoted = shlex.quote(name)
        new = shlex.quote(f"{name}.utf8")
        command = f"iconv -f {encoding} -t UTF-8 {quoted} > {new} && mv {new} {quoted}"
        return f"is {encoding} text: convert it with `{command}`"
    for magic, kind in _BINARY.items():
        if head.startswith(magic):
            return f"is {kind}, not text in UTF-8: put the right file in its place"
    if head.startswith(b"\x00"):
        return "begins with NUL bytes, as after an interrupted download: get the file again"
    return None


def _unpack(packed: _Packed, name: str) -> str:
    """Return a command that unpacks a file, which may have any name."""
    quoted = shlex.quote(name)
    if name.endswith(packed.suffix):
        return f"{packed.command} {quoted}"
    # `gunzip` and its like take files with their suffix only; an archive may contain the same name.
    renamed = shlex.quote(name + packed.suffix)
    return f"mv {quoted} {renamed} && {packed.command} {renamed}"


def _encoding_without_mark(head: bytes) -> str | None:
    """Return UTF-16 or UTF-32 with its byte order, recognised by NUL bytes; None for others."""
    head = head[: len(head) // 4 * 4]
    # The upper bytes of a unit are NUL for most characters, and always at the same places. A few
    # lower bytes are NUL too.
    first, second, third, fourth = (head[place::4].count(0) for place in range(4))
    quarter = len(head) // 4
    if not quarter:
        return None
    if fourth == quarter and third > quarter // 2:
        encoding = "UTF-32LE"
    elif first == quarter and second > quarter // 2:
        encoding = "UTF-32BE"
    elif 2 * (second + fourth) >= quarter and 3 * (first + third) <= second + fourth:
        encoding = "UTF-16LE"
    elif 2 * (first + third) >= quarter and 3 * (second + fourth) <= first + third:
        encoding = "UTF-16BE"
    else:
        return None
    # A character that is cut at the end of the head is no fault.
    text = head.decode(encoding, errors="ignore")
    readable = sum(letter.isprintable() or letter.isspace() for letter in text)
    return encoding if text and readable >= 0.95 * len(text) else None
