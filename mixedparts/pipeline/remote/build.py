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
from mixedparts.pipeline.remote.finish import tidy_up
from mixedparts.pipeline.remote.in_store import InStore
from mixedparts.pipeline.remote.place import (
    LOG,
    STAGED,
    drop_staged,
    finished_manifest,
    is_marked_unfinished,
    mark_unfinished,
    prepare,
    put_in_place,
    stored_json,
)
from mixedparts.pipeline.remote.sources import Addresses, source_addresses, with_local_sources
from mixedparts.pipeline.remote.tasks import scratch_folder
from mixedparts.pipeline.runs.event_log import event_log
from mixedparts.pipeline.runs.shares import share_name
from mixedparts.pipeline.stages import Stages
from mixedparts.progress import Progress
from mixedparts.remote.store import Store
from mixedparts.storage.build_folder import CARD, MANIFEST, PLAN
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
    listed = store.listing()
    # The objects of a replacement that is being made belong to no build here.
    listed = {name: item for name, item in listed.items() if not name.startswith(f"{STAGED}/")}
    prepare(store, listed, plan, overwrite)
    finished = None if overwrite else finished_manifest(store, listed)
    if finished is not None:
        tidy_up(store, finished_names(store, finished))
        shutil.rmtree(scratch, ignore_errors=True)
        progress.log(f"{store.address} is complete; nothing to do.")
        return finished
    mark_unfinished(store)
    for source, split in absent_splits(plan):
        progress.log(f"{source}: no {split} split here, skipped")
    config = replace(config, out=scratch)
    destination = InStore(store, scratch, plan.build_id, addresses)
    engine = engine_of(config, plan, progress, shared=False)
    share = share_name(config.shard_range)
    with closing(engine), _kept_log(store, scratch), event_log(scratch, share) as log:
        manifest = run_stages(config, plan, Stages(config, engine, progress, log, destination))
    if "waiting" not in manifest:
        # All of it is in the store now.
        shutil.rmtree(scratch, ignore_errors=True)
    return manifest


def finished_names(store: Store, manifest: dict[str, Any]) -> set[str]:
    """Return the names of all objects of a finished build."""
    from mixedparts.storage.digest_list import DIGEST_LIST, parse_digest_list

    listed = parse_digest_list(store.read([DIGEST_LIST])[DIGEST_LIST].decode())
    return {*listed, *(shard["path"] for shard in manifest["shards"]), DIGEST_LIST, CARD, LOG}


@contextmanager
def _kept_log(store: Store, scratch: Path) -> Iterator[None]:
    """Continue the log of earlier runs, on whatever machine, and keep it as an object."""
    file = scratch / LOG
    if not file.exists() and (earlier := store.read([LOG]).get(LOG)) is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(earlier)
    try:
        yield
    except BaseException:
        # The log of a run that failed helps, but says less than the error.
        with suppress(MixedPartsError, OSError):
            store.put({LOG: file})
        raise
    store.put({LOG: file})
