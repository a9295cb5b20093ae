"""Replace a finished build: the new one is built beside it and takes its place at the end."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from mixedparts.cards.checkout import point_checkout_at
from mixedparts.files.folders import list_folder
from mixedparts.pipeline.finalize import is_unfinished
from mixedparts.storage.build_folder import (
    CARD,
    CROISSANT,
    MANIFEST,
    PLAN,
    REJECTS_FILE,
    BuildFolder,
    stored_manifest,
    stored_plan,
)
from mixedparts.storage.digest_cache import digest_cache
from mixedparts.storage.digest_list import DIGEST_LIST
from mixedparts.storage.leftovers import is_leftover
from mixedparts.storage.replace_folder import recover, replace_folder, staging_folder
from mixedparts.storage.schema import CONFIGS

_FILES = (CARD, MANIFEST, CROISSANT, DIGEST_LIST, REJECTS_FILE)
_FOLDERS = (*CONFIGS, str(PLAN.parent))


class WorkFolder(NamedTuple):
    """Where a build is made.

    Attributes:
        folder: the build folder, or one beside it.
        staged: whether it is the one beside, which takes the place of the other at the end.
    """

    folder: Path
    staged: bool


@contextmanager
def work_folder(out: Path, build_id: str, overwrite: bool) -> Iterator[WorkFolder]:
    """Yield the folder to build in, and put it into place when the block ends without an error.

    Args:
        out: the build folder; the caller holds its lock.
        build_id: of the build that will be made.
        overwrite: whether a build in `out` is to be replaced.

    Yields:
        The folder.
    """
    recover(out)
    staging = staging_folder(out)
    started = stored_plan(staging)
    if not overwrite or stored_manifest(out) is None or is_unfinished(out):
        # Of a replacement that was killed, and is not asked for any more.
        if started is not None:
            _discard(staging, out)
        yield WorkFolder(out, staged=False)
        return
    if started is not None and started["build_id"] != build_id:
        _discard(staging, out)
    yield WorkFolder(staging, staged=True)
    _publish(staging, out)


def _publish(staging: Path, out: Path) -> None:
    """Put a build that has just been finished, or found finished, in the place of another one."""
    manifest = BuildFolder.open(staging).manifest
    old = replace_folder(staging, out)
    if old is not None:
        _discard(old, out)
    # The digests were noted for files of the other folder; the next run need not read these again.
    cache = digest_cache(out)
    for shard in manifest["shards"]:
        cache.know(shard["path"], shard["sha256"], time.time_ns())
    cache.save()
    point_checkout_at(out, manifest)


def _discard(old: Path, out: Path) -> None:
    """Remove a build beside `out`; files of a user in it are moved to `out` before."""
    # It can be the replaced one: a run may be killed between the exchange and this step.
    if out.is_dir():
        for entry in list_folder(old):
            ours = entry.name in (*_FILES, *_FOLDERS) or is_leftover(entry.name)
            if not ours and not (out / entry.name).exists():
                os.rename(entry.path, out / entry.name)
    shutil.rmtree(old, ignore_errors=True)


def remove_build(out: Path) -> None:
    """Remove the files of a build, and leave other files in its folder alone."""
    # Card and manifest go first, so that an interrupted removal leaves nothing that can be loaded.
    # The plan goes last: by it, the next run recognises the rest as a build.
    for name in _FILES:
        (out / name).unlink(missing_ok=True)
    for name in _FOLDERS:
        shutil.rmtree(out / name, ignore_errors=True)
