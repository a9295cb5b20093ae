"""The place of a build in object storage: what is there, and making it ready for a build.

The rules and messages are those of a build folder (`mixedparts.pipeline.build.prepare`). One thing
is different. A store has no rename, so a build that replaces a finished one is made below
`_build/new`, and its objects are copied at the end. For the time of the copy nothing can be loaded;
a run that was killed meanwhile is completed by the next one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from mixedparts.cards.card import unfinished_card
from mixedparts.errors import UsageError
from mixedparts.pipeline.plan import Plan, differences
from mixedparts.remote.store import Store, StoredObject
from mixedparts.storage.build_folder import CARD, CROISSANT, MANIFEST, PLAN, REJECTS_FILE
from mixedparts.storage.digest_list import DIGEST_LIST
from mixedparts.storage.manifest_shape import manifest_faults
from mixedparts.storage.schema import CONFIGS

STAGED = f"{PLAN.parent.as_posix()}/new"
WORKING = f"{PLAN.parent.as_posix()}/work/"
LOG = f"{PLAN.parent.as_posix()}/log.jsonl"
LOGS = f"{WORKING}logs"  # of the machines, until the build is finished
_FILES = (CARD, MANIFEST, CROISSANT, DIGEST_LIST, REJECTS_FILE)
_FOLDERS = (*CONFIGS, PLAN.parent.as_posix())
Listing = Mapping[str, StoredObject]


def check_place(address: str) -> None:
    """Check that a build can be written to an address of this kind.

    Raises:
        UsageError: it is a repository of the Hub, where each file would be a commit of its own.
    """
    if address.startswith("hf://") and not address.startswith("hf://buckets/"):
        raise UsageError(
            f"{address} is in a repository, in which every file that a build writes would be a"
            " commit",
            "Build into a folder or a bucket (hf://buckets/OWNER/NAME/FOLDER), then send it with"
            " `mixedparts push`.",
        )


def stored_json(store: Store, name: str) -> dict[str, Any] | None:
    """Return a JSON object that is stored under a name; None where there is no such object."""
    content = store.read([name]).get(name)
    try:
        value = None if content is None else json.loads(content)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def is_marked_unfinished(store: Store) -> bool:
    """Return whether the card at a place is that of an unfinished build."""
    return store.read([CARD]).get(CARD) == unfinished_card().encode()


def mark_unfinished(store: Store) -> None:
    """Mark a place as an unfinished build: no manifest, and a card that loads nothing."""
    # The manifest goes first: without it, no program of this project opens the place.
    store.remove([MANIFEST] if MANIFEST in store.listing() else [])
    if not is_marked_unfinished(store):
        store.write({CARD: unfinished_card().encode()})


def finished_manifest(store: Store, listed: Listing) -> dict[str, Any] | None:
    """Return the manifest of a finished build whose objects are whole; None for anything else.

    Whole means that the build id is that of the plan, each data file has its recorded size, and no
    object is newer than the card, which is written last.

    Args:
        store: of the build.
        listed: its objects.
    """
    if CARD not in listed or is_marked_unfinished(store):
        return None
    manifest, plan = stored_json(store, MANIFEST), stored_json(store, PLAN.as_posix())
    if manifest is None or plan is None or manifest_faults(manifest):
        return None
    if manifest.get("build_id") != plan.get("build_id"):
        return None
    written = listed[CARD].modified
    for shard in manifest["shards"]:
        if shard["path"] not in listed or listed[shard["path"]].size != shard["bytes"]:
            return None
    for name in (*_FILES, PLAN.as_posix(), *(shard["path"] for shard in manifest["shards"])):
        found = listed.get(name)
        if found is None or (found.modified and written and found.modified > written):
            return None
    return manifest


def prepare(store: Store, listed: Listing, plan: Plan, overwrite: bool) -> None:
    """Check that a place can be used for a plan; remove an earlier build if asked to.

    Args:
        store: of the build.
        listed: its objects.
        plan: the plan of the build.
        overwrite: remove a build that is there, of any plan.

    Raises:
        UsageError: there is another build, or something that is no build.
    """
    if not listed:
        return
    stored = stored_json(store, PLAN.as_posix())
    known = stored is not None and isinstance(stored.get("build_id"), str)
    # A build that was interrupted before it stored its plan has the card of an unfinished build.
    if not known and not is_marked_unfinished(store):
        raise UsageError(
            f"{store.address} is not empty and contains no build",
            "Choose another folder with --out.",
        )
    if not known or overwrite:
        remove_objects(store, listed)
    elif stored is not None and stored["build_id"] != plan.build_id:
        lines = differences(stored.get("identity"), plan.identity)
        raise UsageError(
            f"{store.address} contains another build. What differs (there -> asked for):\n"
            + "\n".join(f"  {line}" for line in lines),
            "Build into another folder with --out, or replace that one with --overwrite.",
        )


def of_build(names: Iterable[str]) -> list[str]:
    """Return those names of objects that belong to a build, and not to the user."""
    return [name for name in names if name in _FILES or name.split("/")[0] in _FOLDERS]


def remove_objects(store: Store, listed: Iterable[str]) -> None:
    """Remove the objects of a build, and leave those of the user alone.

    Args:
        store: of the build.
        listed: names of its objects; those below `_build/new` stay.
    """
    mine = [name for name in of_build(listed) if not name.startswith(f"{STAGED}/")]
    # Card and manifest go first, so that an interrupted removal leaves nothing that can be loaded.
    # The plan goes last: by it, the next run recognises the rest as a build.
    first, last = {CARD, MANIFEST}, {PLAN.as_posix()}
    store.remove(first.intersection(mine))
    store.remove(set(mine) - first - last)
    store.remove(last.intersection(mine))


def put_in_place(store: Store) -> dict[str, Any] | None:
    """Put the finished build below `_build/new` in the place of another one.

    Args:
        store: of the place; the build below it is staged.

    Returns:
        The manifest of the staged build; None if it is not finished, and nothing was done.
    """
    staged = store.below(STAGED)
    listed = staged.listing()
    manifest = finished_manifest(staged, listed)
    if manifest is None:
        return None
    # The card of the unfinished build stays until the end, so that the next run continues here.
    mark_unfinished(store)
    old = [name for name in store.listing() if name != CARD]
    remove_objects(store, old)
    staged.copy([name for name in listed if name not in (CARD, MANIFEST)], store)
    staged.copy([MANIFEST], store)
    staged.copy([CARD], store)
    drop_staged(store)
    return manifest


def drop_staged(store: Store) -> None:
    """Remove a build that was to replace another one."""
    staged = store.below(STAGED)
    remove_objects(staged, staged.listing())
