"""The last step of a build, and the marks of finished and unfinished folders.

Once `mark_unfinished` has run, `finalize` is the only step that changes what readers of the folder
see. It may be interrupted at any point: a reader then finds no build, or one with complete tables,
and the next run repeats the step. The order of the changes ensures this.

1. The table folders move into place, each with one rename (`TABLES`).
2. The manifest is written: programs of this project open the folder from then on.
3. The card replaces the card of an unfinished build: `datasets` loads the tables from then on.
4. Working files are removed; plan, commit records and log stay in `_build`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from mixedparts.cards.card import card, unfinished_card
from mixedparts.cards.checkout import point_checkout_at
from mixedparts.cards.croissant import croissant_text
from mixedparts.errors import InputError
from mixedparts.files.text import read_text
from mixedparts.pipeline.build_manifest import make_manifest
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.plan import Plan
from mixedparts.pipeline.rejects import write_rejects
from mixedparts.pipeline.workspace import READY, WORK
from mixedparts.storage.build_folder import (
    CARD,
    CROISSANT,
    MANIFEST,
    REJECTS_FILE,
    stored_manifest,
    stored_plan,
)
from mixedparts.storage.digest_cache import digest_cache
from mixedparts.storage.digest_list import read_digest_list, write_digest_list
from mixedparts.storage.leftovers import is_leftover
from mixedparts.storage.manifest_shape import manifest_faults
from mixedparts.storage.shards import (
    COMMITS,
    Commit,
    WrittenFile,
    committed,
    write_json,
    write_text,
)

# The order in which the tables move into place. Rows of `pairs` name rows of `images`, and `pairs`
# is what is loaded by default, so it comes last: where it is, all that it refers to is there.
TABLES = ("images", "entities", "preview", "pairs")


def mark_unfinished(build: Path) -> None:
    """Mark a folder as an unfinished build: no manifest, and a card that loads nothing."""
    # The manifest goes first: without it, no program of this project opens the folder.
    (build / MANIFEST).unlink(missing_ok=True)
    if not is_unfinished(build):
        write_text(build / CARD, unfinished_card())


def is_unfinished(build: Path) -> bool:
    """Return whether a folder has the card that `mark_unfinished` writes."""
    try:
        return read_text(build / CARD) == unfinished_card()
    except InputError:
        return False


def finished_manifest(build: Path) -> dict[str, Any] | None:
    """Return the manifest of a finished build whose files are intact; None for anything else.

    Intact means that the build id is that of the stored plan and every file matches its digest.
    """
    # A build with a damaged or missing shard counts as unfinished, so that its command repairs it.
    manifest, plan = stored_manifest(build), stored_plan(build)
    if manifest is None or plan is None or manifest.get("build_id") != plan["build_id"]:
        return None
    if manifest_faults(manifest):
        return None
    digests = {shard["path"]: shard["sha256"] for shard in manifest["shards"]}
    try:
        digests |= read_digest_list(build) or {}
    except (OSError, ValueError):
        return None
    whole = _intact(build, digests)
    return manifest if whole and not is_unfinished(build) and (build / CARD).is_file() else None


def _intact(build: Path, digests: Mapping[str, str]) -> bool:
    """Return whether all files match their digests; those that have not changed are not read."""
    cache = digest_cache(build)

    def matches(item: tuple[str, str]) -> bool:
        path, digest = item
        try:
            return cache.sha256(path) == digest
        except OSError:
            return False

    # Hashing large files releases the interpreter lock.
    with ThreadPoolExecutor(4) as pool:
        whole = all(pool.map(matches, digests.items()))
    cache.save()
    return whole


def done_elsewhere(build: Path, task: str) -> Commit | None:
    """Return the record of a task that any run of this build has finished; None if none has."""
    # Working files are in `WORK`, shards in `READY`, or in place if `finalize` was interrupted.
    return committed(build, task, build / WORK, build / READY, build)


def finalize(
    config: BuildConfig, plan: Plan, reads: Sequence[Commit], paired: Commit, written: list[Commit]
) -> dict[str, Any]:
    """Add rejects, manifest and card to the tables, and move everything into place.

    Args:
        config: of the build.
        plan: the plan of the build.
        reads: commit records of all read tasks.
        paired: commit record of pairing.
        written: commit records of all write tasks, each with one shard.

    Returns:
        The manifest.

    Raises:
        OSError: a file cannot be written or moved.
    """
    build = config.out
    _gather(build, written)
    files = [record.files[0] for record in written]
    files.append(write_rejects(build / READY, build / WORK, [*reads, paired]))
    manifest = make_manifest(plan, reads, paired, files)
    for table in TABLES:
        _move(build / READY / table, build / table)
    os.replace(build / READY / REJECTS_FILE, build / REJECTS_FILE)
    # An earlier run may have ended with too many rejects and left them here (`check_rejects`).
    (build / WORK.parent / REJECTS_FILE).unlink(missing_ok=True)
    describe(build, manifest, files)
    point_checkout_at(build, manifest)
    tidy_up(build)
    _remember(build, written)
    return manifest


def describe(build: Path, manifest: dict[str, Any], files: Sequence[WrittenFile]) -> None:
    """Write manifest, Croissant file, digest list and, last of all, the card.

    Args:
        build: the build folder, with plan and commit records.
        manifest: of the build.
        files: all data files of the dataset.
    """
    write_json(build / MANIFEST, manifest)
    write_text(build / CROISSANT, croissant_text(manifest))
    text = card(manifest)
    write_digest_list(build, files, text)
    write_text(build / CARD, text)


def tidy_up(build: Path) -> None:
    """Remove the working files of a finished build; one that cannot be removed does no harm."""
    for folder in (WORK, READY):
        shutil.rmtree(build / folder, ignore_errors=True)
    # A killed process leaves its temporary files. No task runs any more that could own one.
    for stray in build.rglob(".*.tmp"):
        if is_leftover(stray.name):
            with suppress(OSError):
                stray.unlink()


def _remember(build: Path, written: Sequence[Commit]) -> None:
    """Note the digests of the shards, so that the next run need not read them."""
    cache = digest_cache(build)
    for record in written:
        # The record is the last thing that a task writes: a shard that has not changed since then
        # is the one that the task has hashed.
        committed_ns = (build / COMMITS / f"{record.task}.json").stat().st_mtime_ns
        for file in record.files:
            cache.know(file.path, file.sha256, committed_ns)
    cache.save()


def _gather(build: Path, written: list[Commit]) -> None:
    """Move shards that an interrupted `finalize` has put into place back to `READY`."""
    # `_move` replaces the folder of a table as a whole, so its shards must all be in `READY`, those
    # of the interrupted run beside those that had to be written again.
    for record in written:
        for item in record.files:
            ready, final = build / READY / item.path, build / item.path
            if not ready.exists():
                ready.parent.mkdir(parents=True, exist_ok=True)
                os.replace(final, ready)


def _move(ready: Path, final: Path) -> None:
    """Put the folder of a table into place with one rename."""
    # After `_gather`, the old folder contains at most damaged shards that were written again.
    shutil.rmtree(final, ignore_errors=True)
    if ready.is_dir():
        ready.rename(final)
