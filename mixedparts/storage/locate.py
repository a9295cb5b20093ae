"""Find a built dataset: by folder, by the name `mixedparts`, or by the note of the last build."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

from mixedparts.errors import InputError, UsageError
from mixedparts.files.cache import cache_folder
from mixedparts.files.text import read_own_json
from mixedparts.progress import Progress
from mixedparts.remote.cache import folder_of
from mixedparts.remote.mirror import FixedMirror
from mixedparts.remote.store import Store
from mixedparts.settings.local_paths import address_of, as_path, shown, without_file_scheme
from mixedparts.storage.build_folder import CARD, MANIFEST, BuildFolder
from mixedparts.storage.copies import fetch, fetch_small, local_file, name_of
from mixedparts.storage.digest_list import DIGEST_LIST, read_digest_list
from mixedparts.storage.hub_ids import similar_folder
from mixedparts.storage.shards import written_beside

NAME = "mixedparts"
HOME = "MIXEDPARTS_HOME"
DEFAULT_BUILD = Path("data/mixedparts")
BUILD_HINT = (
    "Build one with: mixedparts build --sources paco partimagenet ade20k\n"
    "or try it on synthetic sources first: mixedparts sample --out sources"
)


def resolve_build(name_or_path: str | os.PathLike[str] | None = None) -> Path | str:
    """Return the folder of a finished build, or the text of a Hub id as it is.

    Args:
        name_or_path: a build folder, its address, a Hub id, or `mixedparts` (also None), which
            means the first of these folders that exists: `$MIXEDPARTS_HOME`, `data/mixedparts`,
            the last build.

    Returns:
        The folder; for an address that of a local copy, whose files are fetched when they are read.

    Raises:
        InputError: there is no folder, or it contains no finished build.
        EnvironmentFault: the storage of an address cannot be reached or refuses access.
    """
    text = NAME if name_or_path is None else os.fspath(name_or_path)
    if (address := address_of(without_file_scheme(text))) is not None:
        return _finished(local_copy(address))
    text = without_file_scheme(text)
    if text != NAME:
        folder = Path(text)
        if folder.is_dir():
            return _finished(folder)
        # Only after the folders: `data/mixedparts` has the form of a Hub id too.
        if _is_hub_id(text):
            return text
        near = similar_folder(text)
        raise InputError(f"there is no build folder {text}", f"{near}\n{BUILD_HINT}".lstrip())
    places = [as_path(os.environ[HOME])] if os.environ.get(HOME) else []
    places += [DEFAULT_BUILD, *([last] if (last := last_build()) else [])]
    # An unfinished build in the first folder is an error. Another dataset from a later folder would
    # go unnoticed.
    for folder in places:
        if (address := address_of(folder)) is not None:
            return _finished(local_copy(address))
        if folder.is_dir():
            return _finished(folder)
    looked = ", ".join(shown(folder) for folder in places)
    raise InputError(f"no built dataset found; looked in {looked}", BUILD_HINT)


def local_build(name_or_path: str | os.PathLike[str] | None, reader: str) -> Path:
    """Return the folder of a finished build on disk.

    Args:
        name_or_path: as for `resolve_build`.
        reader: what reads it, for the message.

    Raises:
        InputError: there is no folder, or it contains no finished build.
        UsageError: it is a Hub id.
    """
    place = resolve_build(name_or_path)
    if isinstance(place, str):
        raise UsageError(
            f"{place} is a Hub id; {reader} reads the folder of a build",
            f"Download it first: hf download {place} --repo-type dataset --local-dir DIR",
        )
    return place


def folder_to_read(build: Path, whole: bool = False, progress: Progress | None = None) -> Path:
    """Return the folder of a build that a command names, or of a copy of the one at an address.

    Args:
        build: path or address.
        whole: fetch all files at once, for what reads them without `BuildFolder`.
        progress: shows the bytes that are fetched at once; None: on the terminal.

    Returns:
        The folder.

    Raises:
        InputError: there is no finished build at the address.
        EnvironmentFault: the storage cannot be reached or refuses access.
    """
    address = address_of(build)
    if address is None:
        return build
    folder = _finished(local_copy(address))
    if whole:
        opened = BuildFolder.open(folder)
        fetch(folder, opened.shards, progress)
        with suppress(FileNotFoundError):  # builds of earlier versions have no list
            local_file(folder, DIGEST_LIST, ())
        fetch_small(folder, list(read_digest_list(folder) or {}))
    return folder


def local_copy(address: str) -> Path:
    """Return the folder of a local copy of a build, with its manifest and card as they are now.

    Raises:
        InputError: there is no finished build at the address.
        EnvironmentFault: the storage cannot be reached or refuses access.
    """
    store = Store(address)
    found = store.read([MANIFEST, CARD])
    if MANIFEST not in found:
        store.listing()  # a missing bucket and an object have messages of their own
        raise InputError(
            f"{address} contains no finished build (no {MANIFEST})",
            "Run the `mixedparts build` command again: it continues where it stopped.",
        )
    # Another build at the address gets another folder, and so does one with other bytes.
    digest = hashlib.sha256(found[MANIFEST]).hexdigest()
    copy = FixedMirror(address, folder_of(address, f"build-{digest[:16]}"))
    copy.mark()
    for name in (CARD, MANIFEST):
        path = copy.folder / name
        if name not in found:
            path.unlink(missing_ok=True)
        elif not path.is_file() or path.read_bytes() != found[name]:
            with written_beside(path, flush=False) as temporary:
                temporary.write_bytes(found[name])
    return copy.folder


def _is_hub_id(text: str) -> bool:
    """Return whether a text has the form OWNER/NAME and is not obviously a path."""
    return text.count("/") == 1 and not text.startswith((".", "/", "~")) and "\\" not in text


def _finished(folder: Path) -> Path:
    """Return a folder after checking that it contains a finished build.

    Raises:
        InputError: it does not, or the build has another schema version.
    """
    # `datasets` reads the card to find the files of each split.
    if not (BuildFolder.open(folder).path / CARD).is_file():
        raise InputError(
            f"{name_of(folder)} contains no finished build (no {CARD})",
            "Run the `mixedparts build` command again: it continues where it stopped.",
        )
    return folder


def last_build() -> Path | None:
    """Return the folder of this user's last build (`remember_build`); None if there is no note."""
    try:
        return as_path(read_own_json(_note())["last_build"])
    except (OSError, KeyError, TypeError, ValueError, AttributeError):
        return None


def remember_build(folder: Path) -> None:
    """Note the folder of the last build in the user's cache folder."""
    # The note is a convenience: a build must not fail because the cache folder is read-only.
    try:
        _note().parent.mkdir(parents=True, exist_ok=True)
        place = address_of(folder) or str(folder.resolve())
        _note().write_text(json.dumps({"last_build": place}), encoding="utf-8")
    except OSError:
        return


def _note() -> Path:
    """Return the path of the note."""
    return cache_folder() / "last_build.json"
