"""The last step of a build, and the marks of a folder that is begun, whole, or neither."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mixedparts.cards.card import card, unfinished_card
from mixedparts.cards.checkout import point_checkout_at
from mixedparts.cards.croissant import CROISSANT, croissant_text
from mixedparts.pipeline.build_manifest import make_manifest
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.plan import Plan
from mixedparts.pipeline.rejects import write_rejects
from mixedparts.pipeline.workspace import READY, WORK
from mixedparts.storage.build_folder import (
    CARD,
    MANIFEST,
    REJECTS_FILE,
    stored_manifest,
    stored_plan,
)
from mixedparts.storage.shards import (
    Commit,
    WrittenFile,
    committed,
    intact,
    write_json,
    write_text,
)

TABLES = ("images", "entities", "preview", "pairs")  # in the order in which they move into place


def mark_unfinished(build: Path) -> None:
    """Mark a folder as a build that is not whole: it has a card that makes nothing load."""
    (build / MANIFEST).unlink(missing_ok=True)
    if not is_unfinished(build):
        write_text(build / CARD, unfinished_card())


def is_unfinished(build: Path) -> bool:
    """Say whether a folder carries the mark of `mark_unfinished`."""
    try:
        return (build / CARD).read_text(encoding="utf-8") == unfinished_card()
    except (OSError, UnicodeDecodeError):
        return False


def finished_manifest(build: Path) -> dict[str, Any] | None:
    """Return the manifest if it fits the stored plan and every shard still matches its hash."""
    manifest, plan = stored_manifest(build), stored_plan(build)
    if manifest is None or plan is None or manifest.get("build_id") != plan["build_id"]:
        return None
    whole = all(intact(build, WrittenFile(**shard)) for shard in manifest["shards"])
    return manifest if whole and not is_unfinished(build) and (build / CARD).is_file() else None


def done_elsewhere(build: Path, task: str) -> Commit | None:
    """Return the record of a task that some run of this build has finished."""
    return committed(build, task, build / WORK, build / READY, build)


def finalize(
    config: BuildConfig, plan: Plan, reads: Sequence[Commit], paired: Commit, written: list[Commit]
) -> dict[str, Any]:
    """Add rejects, manifest and card, and move everything into place.

    Returns:
        The manifest.
    """
    build = config.out
    _gather(build, written)
    files = [record.files[0] for record in written]
    files.append(write_rejects(build / READY, build / WORK, [*reads, paired]))
    manifest = make_manifest(plan, reads, paired, files)
    for table in TABLES:
        _move(build / READY / table, build / table)
    os.replace(build / READY / REJECTS_FILE, build / REJECTS_FILE)
    (build / WORK.parent / REJECTS_FILE).unlink(missing_ok=True)  # of a run that was refused
    write_json(build / MANIFEST, manifest)
    write_text(build / CROISSANT, croissant_text(manifest))
    write_text(build / CARD, card(manifest))
    point_checkout_at(build, manifest)
    for folder in (WORK, READY):
        shutil.rmtree(build / folder, ignore_errors=True)
    for stray in build.rglob(".*.tmp"):
        stray.unlink(missing_ok=True)
    return manifest


def _gather(build: Path, written: list[Commit]) -> None:
    """Bring shards that an interrupted publication had moved already back beside the others."""
    for record in written:
        for item in record.files:
            ready, final = build / READY / item.path, build / item.path
            if not ready.exists():
                ready.parent.mkdir(parents=True, exist_ok=True)
                os.replace(final, ready)


def _move(ready: Path, final: Path) -> None:
    """Put a table's folder into place with one rename."""
    shutil.rmtree(final, ignore_errors=True)
    if ready.is_dir():
        ready.rename(final)
