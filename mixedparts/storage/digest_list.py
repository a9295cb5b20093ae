"""One list of digests for all files of a build, in the format of `sha256sum`.

`sha256sum --check SHA256SUMS` reads it too. Only the log of a build is not listed, because it alone
may differ between two equal builds.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from mixedparts.errors import UsageError
from mixedparts.files.folders import list_folder
from mixedparts.files.opening import open_regular
from mixedparts.storage.build_folder import CARD, CROISSANT, MANIFEST, PLAN, REJECTS_FILE
from mixedparts.storage.schema import CONFIGS
from mixedparts.storage.shards import COMMITS, WrittenFile, sha256_of, write_text

DIGEST_LIST = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


def write_digest_list(build: Path, files: Iterable[WrittenFile], card: str) -> None:
    """Write the list of a finished build.

    Args:
        build: the build folder; all its files but the card are as they will stay.
        files: data files, which need not be read again.
        card: text of the card, which is written last.
    """
    digests = {file.path: file.sha256 for file in files}
    digests[CARD] = hashlib.sha256(card.encode()).hexdigest()
    for path in _listed_files(build):
        if path not in digests:
            digests[path] = sha256_of(build / path)
    lines = [f"{digests[path]}  {path}\n" for path in sorted(digests)]
    write_text(build / DIGEST_LIST, "".join(lines))


def _listed_files(build: Path) -> Iterator[str]:
    """Yield the files of a build that the list names, but for the card; relative POSIX paths.

    Raises:
        InputError: a folder cannot be listed.
    """
    # By name: working files, copies for a push and files of the user are no part of the build.
    for name in (MANIFEST, CROISSANT, REJECTS_FILE, PLAN.as_posix()):
        if (build / name).is_file():
            yield name
    for folder in (*CONFIGS, COMMITS.as_posix()):
        if (build / folder).is_dir():
            for entry in list_folder(build / folder):
                if not entry.name.startswith("."):
                    yield f"{folder}/{entry.name}"


def check_output(build: Path, out: Path) -> None:
    """Check that a file that a user wants to write does not replace one of a build.

    Args:
        build: the build folder.
        out: the file.

    Raises:
        UsageError: it has the place of a file of the build.
    """
    folder, path = build.resolve(), out.resolve()
    if not path.is_relative_to(folder):
        return
    own = {MANIFEST, CROISSANT, REJECTS_FILE, CARD, DIGEST_LIST, PLAN.parts[0], *CONFIGS}
    if own.intersection(path.relative_to(folder).parts[:1]):
        raise UsageError(
            f"{out} has the place of a file of the build {build} itself",
            "Choose a name outside of the build folder.",
        )


def read_digest_list(build: Path) -> dict[str, str] | None:
    """Return path -> SHA-256 (hex) of the listed files; None for a build of an earlier version.

    Raises:
        OSError: it cannot be read.
        ValueError: a line is broken; the message has its number.
    """
    try:
        with open_regular(build / DIGEST_LIST) as file:
            text = file.read().decode()
    except FileNotFoundError:
        return None
    return parse_digest_list(text)


def parse_digest_list(text: str) -> dict[str, str]:
    """Return path -> SHA-256 (hex) of the lines of a list.

    Raises:
        ValueError: a line is broken; the message has its number.
    """
    if not text.endswith("\n"):
        raise ValueError("its last line is cut")
    digests: dict[str, str] = {}
    for number, line in enumerate(text[:-1].split("\n"), 1):
        match = _LINE.fullmatch(line)
        if match is None or match[2] in digests or not _is_inside(match[2]):
            raise ValueError(f"line {number} is broken")
        digests[match[2]] = match[1]
    return digests


def _is_inside(name: str) -> bool:
    """Return whether a name stays in the folder of the build."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts
