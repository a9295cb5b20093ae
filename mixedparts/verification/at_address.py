"""Verification of a build at an address: of the objects as they are now, in no cache."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mixedparts.errors import InputError
from mixedparts.progress import Progress, Silent
from mixedparts.remote.cache import folder_of
from mixedparts.remote.store import Store
from mixedparts.storage.build_folder import CARD, CROISSANT, MANIFEST, PLAN, REJECTS_FILE
from mixedparts.storage.digest_list import DIGEST_LIST
from mixedparts.storage.schema import CONFIGS
from mixedparts.verification.findings import Findings
from mixedparts.verification.verify import check_level, verify

_FILES = (CARD, MANIFEST, CROISSANT, DIGEST_LIST, REJECTS_FILE)
_FOLDERS = (*CONFIGS, PLAN.parent.as_posix())
_THREADS = 8


def verify_at(
    address: str, level: str = "full", workers: int | None = 1, progress: Progress | None = None
) -> Findings:
    """Check a build at an address; see `verify`.

    The level quick looks at the sizes of data files and fetches only the small files. The others
    fetch every file, into a folder that is removed afterwards.

    Args:
        address: of the build.
        level: `quick`, `full` or `deep`.
        workers: processes that read shards side by side.
        progress: reports how far the checks are; None: silent.

    Returns:
        Every problem; none means that the build is whole.

    Raises:
        InputError: there is no finished build at the address.
        UsageError: there is no such level.
        EnvironmentFault: the storage cannot be reached or refuses access.
    """
    check_level(level)
    shown = progress or Silent()
    store = Store(address)
    listed = store.listing()
    if MANIFEST not in listed:
        raise InputError(
            f"{address} contains no finished build (no {MANIFEST})",
            "Run the `mixedparts build` command again: it continues where it stopped.",
        )
    names = [name for name in listed if name in _FILES or name.split("/")[0] in _FOLDERS]
    folder = folder_of(address, f"verify-{os.getpid()}")
    shutil.rmtree(folder, ignore_errors=True)
    shown.start(f"fetching {address}", sum(listed[name].size for name in names), "bytes")

    def fetch(name: str) -> int:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if level == "quick" and (name == REJECTS_FILE or name.split("/")[0] in CONFIGS):
            # Of a data file the level looks at the size alone: a file of that size without bytes.
            _empty(path, listed[name].size)
        else:
            store.get(name, path)
        return listed[name].size

    try:
        with ThreadPoolExecutor(_THREADS) as pool:
            for size in pool.map(fetch, names):
                shown.advance(size)
        shown.finish()
        return verify(folder, level, workers, progress)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _empty(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)
