"""Digests of a checkpoint: of all its files together beside results, of each file against damage.

A checkpoint carries `digests.json`, written last, with the size and SHA-256 of every other file.
Loading compares them. The frozen weights can have tens of gigabytes, so only their size is compared
unless the user asks for more (`--verify`). Checkpoints of earlier versions have no such file; they
load as before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import msgspec

from mixedparts.errors import InputError
from mixedparts.files.folders import walk_folders
from mixedparts.files.opening import open_regular
from mixedparts.storage.shards import sha256_of

DIGESTS = "digests.json"


class _FileDigest(msgspec.Struct, frozen=True):
    bytes: int
    sha256: str


class _Digests(msgspec.Struct, frozen=True):
    """The content of `digests.json`; `sha256` is that of the canonical text of `files`."""

    files: dict[str, _FileDigest]
    sha256: str


def folder_digest(folder: Path) -> str:
    """Return the SHA-256 of names and contents of all files in a folder, in hexadecimal.

    Raises:
        InputError: a file cannot be read, or a folder cannot be listed.
    """
    digest = hashlib.sha256()
    for name, path in _files(folder):
        digest.update(f"{name}\0{_sha256(path)}\n".encode())
    return digest.hexdigest()


def write_digests(folder: Path) -> None:
    """Write `digests.json` for all other files of a checkpoint's folder.

    Raises:
        InputError: a file cannot be read, or a folder cannot be listed.
    """
    files = {
        name: _FileDigest(path.stat().st_size, _sha256(path))
        for name, path in _files(folder)
        if name != DIGESTS
    }
    (folder / DIGESTS).write_bytes(_text(_Digests(files, _own_digest(files))))


def check_digests(folder: Path, sized: Collection[str] = ()) -> None:
    """Compare the files of a checkpoint with its digests.

    Args:
        folder: the checkpoint; one without `digests.json` is not compared.
        sized: names of files of which only the size is compared.

    Raises:
        InputError: files are missing, cut or changed; the message names all of them.
    """
    if damage := damaged_files(folder, sized):
        raise damaged(folder, damage.values())


def damaged(folder: Path, lines: Collection[str]) -> InputError:
    """Return the error for a damaged checkpoint, with one line for each file."""
    return InputError(
        f"the checkpoint {folder} is damaged:\n" + "\n".join(f"  {line}" for line in lines),
        "Copy it again or load another one. If you changed a file on purpose, remove"
        f" {folder / DIGESTS}.",
    )


def damaged_files(folder: Path, sized: Collection[str] = ()) -> dict[str, str]:
    """Return file name -> what is wrong with it, for files that are not as they were written.

    Args:
        folder: the checkpoint; one without `digests.json` is not compared.
        sized: names of files of which only the size is compared.

    Raises:
        InputError: `digests.json` or another file cannot be opened.
    """
    path = folder / DIGESTS
    try:
        with open_regular(path) as file:
            raw = file.read()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        recorded = msgspec.json.decode(raw, type=_Digests)
    except (ValueError, RecursionError) as error:
        return {DIGESTS: f"{DIGESTS} cannot be read: {error}"}
    # The text too: a line end that became a space is a changed byte.
    if recorded.sha256 != _own_digest(recorded.files) or raw != _text(recorded):
        return {DIGESTS: f"{DIGESTS} was changed after it was written"}
    return dict(_faults(folder, recorded.files, sized))


def _faults(
    folder: Path, files: Mapping[str, _FileDigest], sized: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Yield name and fault of every file that is not as it was written."""
    for name, recorded in files.items():
        path = folder / name
        try:
            size = path.stat().st_size
        except OSError:
            yield name, f"{name} is missing"
            continue
        if size != recorded.bytes:
            yield name, f"{name} has {size:,} bytes, {recorded.bytes:,} were written"
        elif name not in sized and _sha256(path) != recorded.sha256:
            yield name, f"{name} was changed after it was written"


def _text(digests: _Digests) -> bytes:
    return json.dumps(msgspec.to_builtins(digests), indent=1).encode() + b"\n"


def _own_digest(files: Mapping[str, _FileDigest]) -> str:
    """Return the SHA-256 of the digests themselves, so that a changed one is not taken for true."""
    return hashlib.sha256(msgspec.json.encode(files, order="sorted")).hexdigest()


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield name and path of all files below a folder, in the order of their names.

    Raises:
        InputError: a folder cannot be listed.
    """
    # By relative POSIX paths: a copy of the folder has the same names anywhere.
    paths = [Path(file.path) for listing in walk_folders(folder) for file in listing.files]
    for path in sorted(path for path in paths if path.is_file()):
        yield path.relative_to(folder).as_posix(), path


def _sha256(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise InputError(f"the checkpoint {path.parent} cannot be read: {error}") from error
