"""Local copies of objects that are kept from run to run.

`Mirror` keeps objects that may change, such as the files of a source: one that has not changed,
by size, tag and time in the listing, is not fetched again. `FixedMirror` keeps objects whose
digests are known, those of a finished build, and fetches each when it is first needed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from mixedparts.files.temporary import temporary_beside
from mixedparts.files.text import read_own_json
from mixedparts.progress import Progress, Silent, terminal_progress
from mixedparts.remote.store import Store, StoredObject

_THREADS = 8
_NOTE_EVERY = 500  # files; a run that is killed fetches at most so many again
_LARGE = 64 << 20  # bytes; fetching more shows progress
MARK = ".address.json"  # beside a folder: what it is a copy of


class Mirror:
    """A copy of some objects of a store, as they are at a time.

    Args:
        store: with the objects.
        folder: the copy.
    """

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.folder = folder
        self._note = folder.with_name(f".{folder.name}.json")

    def update(self, wanted: Mapping[str, StoredObject], progress: Progress) -> None:
        """Fetch objects that are missing or have changed; remove files whose objects are gone.

        Args:
            wanted: objects to have, from a listing of now.
            progress: shows the files that are fetched.

        Raises:
            InputError: an object is gone since it was listed.
            EnvironmentFault: the storage cannot be reached or refuses access.
        """
        FixedMirror(self.store.address, self.folder).mark()
        with FileLock(self._note.with_suffix(".lock")):
            known = self._known()
            for name in known.keys() - wanted.keys():
                (self.folder / name).unlink(missing_ok=True)
                del known[name]
            waiting = [
                name for name, item in wanted.items() if not self._is_current(name, item, known)
            ]
            if not waiting:
                return
            progress.start(f"fetching {self.store.address}", len(waiting), "files")
            try:
                self._fetch_all(waiting, wanted, known, progress)
            finally:
                _write_json(self._note, known)
            progress.finish()

    def _fetch_all(
        self,
        waiting: list[str],
        wanted: Mapping[str, StoredObject],
        known: dict[str, list[Any]],
        progress: Progress,
    ) -> None:
        with ThreadPoolExecutor(_THREADS) as pool:
            for number, name in enumerate(pool.map(self._fetch, waiting), 1):
                known[name] = [*wanted[name], (self.folder / name).stat().st_mtime_ns]
                progress.advance(1)
                if number % _NOTE_EVERY == 0:
                    _write_json(self._note, known)

    def _fetch(self, name: str) -> str:
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        fetch_to(self.store, name, target)
        return name

    def _is_current(self, name: str, item: StoredObject, known: Mapping[str, list[Any]]) -> bool:
        try:
            status = (self.folder / name).stat()
        except OSError:
            return False
        return status.st_size == item.size and known.get(name) == [*item, status.st_mtime_ns]

    def _known(self) -> dict[str, list[Any]]:
        """Return what was noted about the files; nothing if the note is damaged."""
        value = read_own_json(self._note)
        return value if isinstance(value, dict) else {}


def fetch_to(
    store: Store, name: str, target: Path, check: Callable[[Path], None] = lambda path: None
) -> None:
    """Fetch one object into a file, which gets its name when it is complete and checked.

    Args:
        store: with the object.
        name: of the object.
        target: the file; its folder exists.
        check: raises an error for a file that must not be used.

    Raises:
        InputError: there is no such object.
        EnvironmentFault: the storage cannot be reached or refuses access.
    """
    temporary = temporary_beside(target)
    try:
        store.get(name, temporary)
        check(temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _write_json(target: Path, value: Any) -> None:
    temporary = temporary_beside(target)
    temporary.write_text(json.dumps(value), encoding="utf-8")
    temporary.replace(target)


class FixedMirror:
    """A copy of a finished build, whose files are fetched when they are first needed.

    Args:
        address: of the build.
        folder: the copy.
    """

    def __init__(self, address: str, folder: Path) -> None:
        self.address = address
        self.folder = folder

    def mark(self) -> None:
        """Note beside the folder what it is a copy of."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _write_json(_mark_of(self.folder), {"address": self.address})

    @classmethod
    def at(cls, folder: Path) -> FixedMirror | None:
        """Return the copy that a folder is; None for any other folder."""
        value = read_own_json(_mark_of(folder))
        address = value.get("address") if isinstance(value, dict) else None
        return cls(address, folder) if isinstance(address, str) else None

    def local(
        self, name: str, size: int | None, check: Callable[[Path], None] = lambda path: None
    ) -> Path:
        """Return the local file of an object, fetched if it is not here.

        Args:
            name: of the object.
            size: in bytes; a file of another size is fetched again. None: any.
            check: raises an error for a file that must not be used.

        Returns:
            The path of the file.

        Raises:
            InputError: there is no such object.
            EnvironmentFault: the storage cannot be reached or refuses access.
        """
        target = self.folder / name
        if _has_size(target, size):
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")) as lock:
            try:
                if not _has_size(target, size):
                    self._fetch(name, size, check)
            finally:
                with suppress(OSError):
                    os.unlink(lock.lock_file)
        return target

    def _fetch(self, name: str, size: int | None, check: Callable[[Path], None]) -> None:
        large = size is not None and size > _LARGE
        shown = terminal_progress() if large else Silent()
        shown.start(f"fetching {self.address}/{name}", size or 0, "bytes")
        fetch_to(Store(self.address), name, self.folder / name, check)
        shown.advance(size or 0)
        shown.finish()


def _mark_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}{MARK}")


def _has_size(path: Path, size: int | None) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return size is None or status.st_size == size
