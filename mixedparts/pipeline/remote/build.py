"""A build whose files go to object storage: the stages of a build folder, in a scratch folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from mixedparts.errors import MixedPartsError
from mixedparts.pipeline.build import engine_of, run_stages
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.plan import Plan, absent_splits, make_plan
from mixedparts.pipeline.remote.finish import tidy_finished
from mixedparts.pipeline.remote.in_store import InStore
from mixedparts.pipeline.remote.place import (
    LOG,
    STAGED,
    check_place,
    drop_staged,
    is_marked_unfinished,
    mark_unfinished,
    prepare,
    put_in_place,
    stored_json,
)
from mixedparts.pipeline.remote.sources import Addresses, source_addresses, with_local_sources
from mixedparts.pipeline.remote.tasks import scratch_folder
from mixedparts.pipeline.remote.unfinished import log_of_machine
from mixedparts.pipeline.runs.event_log import event_log
from mixedparts.pipeline.runs.shares import share_name
from mixedparts.pipeline.stages import Stages
from mixedparts.progress import Progress
from mixedparts.remote.store import Store
from mixedparts.storage.build_folder import MANIFEST, PLAN
from mixedparts.storage.writer_lock import sharing, writing


def build_in_store(
    config: BuildConfig, address: str, progress: Progress, overwrite: bool = False
) -> dict[str, Any]:
    """Build the dataset at an address, or continue a build of any machine there.

    Args:
        config: of the build; its folder is not used.
        address: such as `s3://bucket/folder`.
        progress: shows messages and the progress of each stage.
        overwrite: replace a build of any plan that is there. A finished one stays until the new
            one is finished.

    Returns:
        As `mixedparts.pipeline.build.build`.

    Raises:
        UsageError: there is another build or something that is no build, or nothing reads such an
            address.
        InputError: there is no such bucket; also as `mixedparts.pipeline.build.build`.
        EnvironmentFault: the storage cannot be reached or refuses access, or another process of
            this machine makes the same build.
    """
    check_place(address)
    store = Store(address)
    store.listing(PLAN.parent.as_posix())  # what is wrong with the address shows before the work
    addresses = source_addresses(config)
    config = with_local_sources(config, progress)
    plan = make_plan(config, progress)
    whole = config.shard_range is None
    with _lock(config, scratch_folder(store, plan.build_id), progress):
        # A run that was killed while a build was replaced.
        if is_marked_unfinished(store):
            put_in_place(store)
        if overwrite and whole and stored_json(store, MANIFEST) is not None:
            manifest = _build_at(store.below(STAGED), config, plan, addresses, progress)
            put_in_place(store)
            return manifest
        if whole:
            drop_staged(store)
        return _build_at(store, config, plan, addresses, progress, overwrite)


def _lock(config: BuildConfig, scratch: Path, progress: Progress) -> AbstractContextManager[None]:
    """Return the lock of a build on this machine; other machines cannot be kept away.

    They do no harm: tasks are pure functions, so two machines that run one write equal objects.
    """
    if config.shard_range is None:
        return writing(scratch, progress.log)
    at, of = config.shard_range
    return sharing(scratch, f"{at}-{of}", progress.log)


def _build_at(
    store: Store,
    config: BuildConfig,
    plan: Plan,
    addresses: Addresses,
    progress: Progress,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Build at the final place or at that of a replacement; see `build_in_store`."""
    scratch = scratch_folder(store, plan.build_id)
    finished = _begun(store, config, plan, overwrite)
    if finished is not None:
        shutil.rmtree(scratch, ignore_errors=True)
        progress.log(f"{store.address} is complete; nothing to do.")
        return finished
    for source, split in absent_splits(plan):
        progress.log(f"{source}: no {split} split here, skipped")
    config = replace(config, out=scratch)
    destination = InStore(store, scratch, plan.build_id, addresses)
    engine = engine_of(config, plan, progress, shared=False)
    share = share_name(config.shard_range)
    with closing(engine), _kept_log(store, scratch), event_log(scratch, share) as log:
        stages = Stages(config, engine, progress, log, destination)
        try:
            manifest = run_stages(config, plan, stages)
        except Exception:
            # Another share that finishes the build takes objects away that this one looks for.
            finished = None if share is None else tidy_finished(store, plan)
            if finished is None:
                raise
            manifest = finished
    # Another share may have finished the build since this one looked, before its log was kept.
    if share is not None:
        manifest = tidy_finished(store, plan) or manifest
    if "waiting" not in manifest:
        # All of it is in the store now.
        shutil.rmtree(scratch, ignore_errors=True)
    return manifest


def _begun(store: Store, config: BuildConfig, plan: Plan, overwrite: bool) -> dict[str, Any] | None:
    """Make a place ready for a plan, and mark it as an unfinished build.

    Args:
        store: of the build.
        config: of the build.
        plan: the plan of the build.
        overwrite: remove a build that is there.

    Returns:
        The manifest if the finished build of this plan is there, else None.

    Raises:
        UsageError: there is another build, or something that is no build.
    """
    stored = stored_json(store, PLAN.as_posix()) or {}
    same = stored.get("build_id") == plan.build_id
    # The first share replaces another build; the others go on with the new one.
    overwrite = overwrite and not (same and config.shard_range)
    if same and not overwrite and (finished := tidy_finished(store, plan)) is not None:
        return finished
    # The objects of a replacement that is being made belong to no build here.
    listed = {n: item for n, item in store.listing().items() if not n.startswith(f"{STAGED}/")}
    prepare(store, listed, plan, overwrite)
    # Another share may be finishing the build, whose card must stay then.
    if not (same and config.shard_range and MANIFEST not in listed):
        mark_unfinished(store)
    return None


@contextmanager
def _kept_log(store: Store, scratch: Path) -> Iterator[None]:
    """Continue the log of earlier runs on this machine, and keep it as an object."""
    file, own = scratch / LOG, log_of_machine()
    if not file.exists() and (earlier := store.read([own]).get(own)) is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(earlier)
    try:
        yield
    except BaseException:
        # The log of a run that failed helps, but says less than the error.
        with suppress(MixedPartsError, OSError):
            store.put({own: file})
        raise
    # The last step has added the logs of the other machines.
    store.put({LOG if (scratch / MANIFEST).exists() else own: file})
