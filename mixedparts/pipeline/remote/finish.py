"""The last step of a build in object storage.

The shards have their final names already. What is left is the same as in a build folder
(`mixedparts.pipeline.finalize`): the rejects, then the manifest, then the card, and after these the
working objects are removed. It may be interrupted at any point; the next run repeats it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mixedparts.pipeline.build_manifest import make_manifest
from mixedparts.pipeline.finalize import describe
from mixedparts.pipeline.plan import Plan
from mixedparts.pipeline.rejects import write_rejects
from mixedparts.pipeline.remote.place import LOG, finished_manifest, of_build
from mixedparts.pipeline.remote.tasks import record_name, restate
from mixedparts.pipeline.remote.unfinished import add_other_logs
from mixedparts.pipeline.workspace import WORK
from mixedparts.remote.store import Store
from mixedparts.storage.build_folder import CARD, CROISSANT, MANIFEST, PLAN, REJECTS_FILE
from mixedparts.storage.digest_list import DIGEST_LIST, parse_digest_list
from mixedparts.storage.shards import Commit


def finish(
    store: Store, build: Path, plan: Plan, earlier: Sequence[Commit], written: Sequence[Commit]
) -> dict[str, Any]:
    """Write rejects, manifest and card of a build whose tasks are done.

    Args:
        store: of the build.
        build: the scratch folder, with the rejects of all tasks.
        plan: the plan of the build.
        earlier: commit records of all read tasks, then that of pairing.
        written: commit records of all write tasks, each with one shard.

    Returns:
        The manifest.

    Raises:
        EnvironmentFault: the storage cannot be reached or refuses access.
    """
    # Another run can have come first; what it has written must not get new times.
    if (finished := tidy_finished(store, plan)) is not None:
        return finished
    restate(build, [*earlier, *written])
    add_other_logs(store, build / LOG)
    files = [record.files[0] for record in written]
    files.append(write_rejects(build, build / WORK, earlier))
    manifest = make_manifest(plan, earlier[:-1], earlier[-1], files)
    describe(build, manifest, files)
    names = [REJECTS_FILE, PLAN.as_posix(), LOG, CROISSANT, DIGEST_LIST]
    names += [record_name(record.task) for record in (*earlier, *written)]
    store.put({name: build / name for name in names})
    store.put({MANIFEST: build / MANIFEST})
    store.put({CARD: build / CARD})
    _tidy_up(store, {*names, MANIFEST, CARD, *(file.path for file in files)})
    return manifest


def tidy_finished(store: Store, plan: Plan) -> dict[str, Any] | None:
    """Remove what is left over beside the finished build of a plan.

    Args:
        store: of the build.
        plan: the plan of the build.

    Returns:
        The manifest; None if there is no finished build of this plan, and nothing was done.
    """
    manifest = finished_manifest(store, store.listing())
    if manifest is None or manifest["build_id"] != plan.build_id:
        return None
    try:
        listed = parse_digest_list(store.read([DIGEST_LIST])[DIGEST_LIST].decode())
    except (KeyError, ValueError):  # gone since it was listed, or damaged
        return None
    _tidy_up(store, {*listed, DIGEST_LIST, LOG})
    return manifest


def _tidy_up(store: Store, kept: set[str]) -> None:
    """Remove the working objects of a finished build, and uploads that were never completed.

    Args:
        store: of the build.
        kept: names of the objects of the finished build.
    """
    store.remove(set(of_build(store.listing())) - kept)
    # All tasks are done, so no process needs to go on with one.
    store.end_uploads(lambda name: bool(of_build([name])))
