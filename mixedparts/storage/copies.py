"""Files of a build that is at an address: fetched into its local copy when they are first needed.

`mixedparts.storage.locate` makes the folder of such a copy, with manifest and card in it. Whatever
reads the folder gets its other files here.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

from mixedparts.errors import InputError
from mixedparts.progress import Progress, terminal_progress
from mixedparts.remote.mirror import FixedMirror
from mixedparts.storage.shards import WrittenFile, sha256_of

_THREADS = 4  # files at a time; a storage sends one file in several parts already
_SMALL_THREADS = 16


def name_of(folder: Path) -> str:
    """Return what messages call a build folder: the address that it is a copy of, or its path."""
    copy = FixedMirror.at(folder)
    return str(folder) if copy is None else copy.address


def local_file(folder: Path, relative: str, recorded: Sequence[WrittenFile]) -> Path:
    """Fetch a data file of a build if it is not here.

    Args:
        folder: the build folder.
        relative: path of the file below it.
        recorded: the files of the build's manifest.

    Returns:
        The path of the file on this disk.

    Raises:
        OSError: its object is gone, or is not what the manifest says.
        EnvironmentFault: the storage cannot be reached or refuses access.
    """
    copy = FixedMirror.at(folder)
    if copy is None:
        return folder / relative
    written = next((file for file in recorded if file.path == relative), None)
    size = None if written is None else written.bytes
    try:
        return copy.local(relative, size, partial(_check, written))
    except InputError as error:
        raise FileNotFoundError(error.message) from error


def _check(written: WrittenFile | None, path: Path) -> None:
    """Compare a fetched file with the manifest; files that it does not list cannot be compared."""
    if written is None:
        return
    if (size := path.stat().st_size) != written.bytes:
        raise OSError(f"its object has {size} bytes, recorded {written.bytes}")
    if sha256_of(path) != written.sha256:
        raise OSError("its object does not match its recorded sha256")


def fetch(folder: Path, files: Sequence[WrittenFile], progress: Progress | None = None) -> None:
    """Fetch those of some data files of a build that are not here; see `local_file`.

    Args:
        folder: the build folder; nothing happens if it is no copy.
        files: data files of the build.
        progress: shows the bytes that are fetched; None: on the terminal.
    """
    copy = FixedMirror.at(folder)
    if copy is None:
        return
    missing = [file for file in files if not (folder / file.path).is_file()]
    if not missing:
        return
    progress = progress or terminal_progress()
    progress.start(f"fetching {copy.address}", sum(file.bytes for file in missing), "bytes")
    with ThreadPoolExecutor(_THREADS) as pool:
        paths = pool.map(lambda file: local_file(folder, file.path, files), missing)
        for file, _ in zip(missing, paths, strict=True):
            progress.advance(file.bytes)
    progress.finish()


def fetch_small(folder: Path, names: Sequence[str]) -> None:
    """Fetch those of some files that are not here and that no manifest lists, as commit records.

    Args:
        folder: the build folder; nothing happens if it is no copy.
        names: the files, relative to it. Those that are gone are left to who reads them.
    """
    copy = FixedMirror.at(folder)
    if copy is None:
        return

    def one(name: str) -> None:
        with suppress(InputError):
            copy.local(name, None)

    with ThreadPoolExecutor(_SMALL_THREADS) as pool:
        list(pool.map(one, names))
