"""Find a built dataset: by folder, by the name `mixedparts`, or by the note of the last build."""

from __future__ import annotations

import json
import os
from pathlib import Path

from mixedparts.errors import InputError, UsageError
from mixedparts.files.cache import cache_folder
from mixedparts.files.text import read_own_json
from mixedparts.storage.build_folder import CARD, BuildFolder

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
        name_or_path: a build folder, a Hub id, or `mixedparts` (also None), which means the first
            of these folders that exists: `$MIXEDPARTS_HOME`, `data/mixedparts`, the last build.

    Raises:
        InputError: there is no folder, or it contains no finished build.
    """
    text = NAME if name_or_path is None else os.fspath(name_or_path)
    if text != NAME:
        folder = Path(text)
        if folder.is_dir():
            return _finished(folder)
        # Only after the folders: `data/mixedparts` has the form of a Hub id too.
        if _is_hub_id(text):
            return text
        raise InputError(f"there is no build folder {text}", BUILD_HINT)
    places = [Path(os.environ[HOME])] if os.environ.get(HOME) else []
    places += [DEFAULT_BUILD, *([last] if (last := last_build()) else [])]
    # An unfinished build in the first folder is an error. Another dataset from a later folder would
    # go unnoticed.
    for folder in places:
        if folder.is_dir():
            return _finished(folder)
    looked = ", ".join(str(folder) for folder in places)
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
            f"{folder} contains no finished build (no {CARD})",
            "Run the `mixedparts build` command again: it goes on where it stopped.",
        )
    return folder


def last_build() -> Path | None:
    """Return the folder of this user's last build (`remember_build`); None if there is no note."""
    try:
        return Path(read_own_json(_note())["last_build"])
    except (OSError, KeyError, TypeError):
        return None


def remember_build(folder: Path) -> None:
    """Note the folder of the last build in the user's cache folder."""
    # The note is a convenience: a build must not fail because the cache folder is read-only.
    try:
        _note().parent.mkdir(parents=True, exist_ok=True)
        _note().write_text(json.dumps({"last_build": str(folder.resolve())}), encoding="utf-8")
    except OSError:
        return


def _note() -> Path:
    """Return the path of the note."""
    return cache_folder() / "last_build.json"
