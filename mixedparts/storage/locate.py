"""Where a built dataset is: by folder, by name, or by the note of the last build."""

from __future__ import annotations

import json
import os
from pathlib import Path

from mixedparts.errors import InputError
from mixedparts.storage.build_folder import CARD, BuildFolder

NAME = "mixedparts"
HOME = "MIXEDPARTS_HOME"
DEFAULT_BUILD = Path("data/mixedparts")
BUILD_HINT = (
    "Build one with: mixedparts build --sources paco partimagenet ade20k\n"
    "or try it on synthetic sources first: mixedparts sample --out sources"
)


def resolve_build(name_or_path: str | os.PathLike[str] | None = None) -> Path | str:
    """Return the folder of a whole build, or the text of a Hub id as it is.

    Raises:
        InputError: there is no whole build where it was looked for.
    """
    text = NAME if name_or_path is None else os.fspath(name_or_path)
    if text != NAME:
        folder = Path(text)
        if folder.is_dir():
            return _whole(folder)
        if _is_hub_id(text):
            return text
        raise InputError(f"there is no build folder {text}", BUILD_HINT)
    places = [Path(os.environ[HOME])] if os.environ.get(HOME) else []
    places += [DEFAULT_BUILD, *([last] if (last := last_build()) else [])]
    for folder in places:
        if folder.is_dir():
            return _whole(folder)
    looked = ", ".join(str(folder) for folder in places)
    raise InputError(f"no built dataset found; looked in {looked}", BUILD_HINT)


def _is_hub_id(text: str) -> bool:
    return text.count("/") == 1 and not text.startswith((".", "/", "~")) and "\\" not in text


def _whole(folder: Path) -> Path:
    if not (BuildFolder.open(folder).path / CARD).is_file():
        raise InputError(
            f"{folder} contains no finished build (no {CARD})",
            "Run the `mixedparts build` command again: it goes on where it stopped.",
        )
    return folder


def last_build() -> Path | None:
    """Return the folder of the last build of this user, as `remember_build` noted it."""
    try:
        return Path(json.loads(_note().read_text(encoding="utf-8"))["last_build"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember_build(folder: Path) -> None:
    """Note where the last build went; a machine where that cannot be written goes without."""
    try:
        _note().parent.mkdir(parents=True, exist_ok=True)
        _note().write_text(json.dumps({"last_build": str(folder.resolve())}), encoding="utf-8")
    except OSError:
        return


def _note() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / NAME / "last_build.json"
