"""The pipeline of a build: plan, read, pair, write, finalize.

Every stage starts from what is on disk: a task whose commit record matches its files is not run
again (`mixedparts.storage.shards`). The same command therefore continues an interrupted build, also
with another number of workers or another engine, and the result has the same bytes.

Nothing can be loaded before the end. Finished shards wait in `_build/ready`; until the last step
the folder has no manifest, and its README names a data file that never exists
(`mixedparts.pipeline.finalize`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from typing import Any

from mixedparts.entities.normalise import Filters
from mixedparts.errors import InputError, UsageError
from mixedparts.pipeline.build_warnings import build_warnings
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.destination import Destination
from mixedparts.pipeline.engines import Engine, NodeNeeds, get_engine
from mixedparts.pipeline.engines.local import rare_collection
from mixedparts.pipeline.engines.worker_pool import check_main_module
from mixedparts.pipeline.finalize import (
    finished_manifest,
    is_unfinished,
    mark_unfinished,
    tidy_up,
)
from mixedparts.pipeline.plan import (
    Plan,
    absent_splits,
    differences,
    make_plan,
    read_shards,
    store_plan,
)
from mixedparts.pipeline.read import ReadTask, run_read
from mixedparts.pipeline.reject_limit import parse_limit
from mixedparts.pipeline.rejects import check_rejects
from mixedparts.pipeline.remote.sources import with_local_sources
from mixedparts.pipeline.replacement import remove_build, work_folder
from mixedparts.pipeline.runs.event_log import event_log
from mixedparts.pipeline.runs.places import absolute_places, places
from mixedparts.pipeline.runs.shares import FINISH, finished_by_another, share_name
from mixedparts.pipeline.stages import Stages
from mixedparts.pipeline.write import run_write, write_tasks
from mixedparts.progress import Progress
from mixedparts.remote.cache import is_copy
from mixedparts.settings.local_paths import address_of
from mixedparts.storage.build_folder import stored_manifest, stored_plan
from mixedparts.storage.shards import Commit
from mixedparts.storage.target_folder import holds_earlier
from mixedparts.storage.writer_lock import in_turn, sharing, writing


def build(config: BuildConfig, progress: Progress, overwrite: bool = False) -> dict[str, Any]:
    """Build the dataset, or continue an earlier run of the same build.

    Args:
        config: of the build.
        progress: shows messages and the progress of each stage.
        overwrite: replace a build of any plan that is in the folder. A finished one stays until the
            new one is finished.

    Returns:
        The manifest. With a shard range that leaves work to other runs: the stage that is not
        complete (`waiting`) and the range (`shard_range`).

    Raises:
        UsageError: the folder contains another build or something that is no build, a class is in
            none of the sources, or a script without `if __name__ == "__main__":` calls this.
        InputError: a source is missing, unreadable as a whole, or there is no admissible sample.
        ProblemsFound: more records were rejected than `config.max_rejects` allows.
        EnvironmentFault: the engine is not installed, a worker process died, or another process
            writes to the folder.
    """
    if config.engine == "local":
        check_main_module(config.workers)
    else:
        # Processes on other machines have other working folders.
        config = replace(config, **absolute_places(config))
    if (address := address_of(config.out)) is not None:
        # Imported only when needed: it uses this module.
        from mixedparts.pipeline.remote.build import build_in_store

        return build_in_store(config, address, progress, overwrite)
    config = with_local_sources(config, progress)
    if config.shard_range is None:
        lock = writing(config.out, progress.log)
    else:
        at, of = config.shard_range
        lock = sharing(config.out, f"{at}-{of}", progress.log)
    with lock, rare_collection():
        return _build(config, progress, overwrite)


def _build(config: BuildConfig, progress: Progress, overwrite: bool) -> dict[str, Any]:
    plan = make_plan(config, progress)
    with work_folder(config.out, plan.build_id, overwrite and not config.shard_range) as place:
        overwrite = overwrite and not place.staged
        return _build_in(replace(config, out=place.folder), plan, progress, overwrite)


def _build_in(
    config: BuildConfig, plan: Plan, progress: Progress, overwrite: bool
) -> dict[str, Any]:
    if config.shard_range is None:
        turn: AbstractContextManager[None] = nullcontext()
    else:
        # Another share may be finishing the build: this one must not mark it as unfinished.
        turn = in_turn(config.out, FINISH)
    with turn:
        finished = begin(config, plan, progress, overwrite)
    if finished is not None:
        return finished
    for source, split in absent_splits(plan):
        progress.log(f"{source}: no {split} split here, skipped")
    with (
        event_log(config.out, share_name(config.shard_range)) as log,
        closing(engine_of(config, plan, progress)) as engine,
    ):
        try:
            result = run_stages(config, plan, Stages(config, engine, progress, log))
        except Exception:
            # Another share that finishes the build takes files away that this one still looks for.
            if (finished := _finished_by_another(config, plan)) is not None:
                return finished
            raise
        return (_finished_by_another(config, plan) if "waiting" in result else None) or result


def _finished_by_another(config: BuildConfig, plan: Plan) -> dict[str, Any] | None:
    """Return the manifest if another share has finished the build; None for the whole build."""
    if config.shard_range is None:
        return None
    with in_turn(config.out, FINISH):
        if not finished_by_another(config.out, plan.build_id):
            return None
        tidy_up(config.out)
        return stored_manifest(config.out)


def engine_of(config: BuildConfig, plan: Plan, progress: Progress, shared: bool = True) -> Engine:
    """Return the engine of a build.

    Args:
        config: of the build.
        plan: the plan of the build.
        progress: gets a line about what a user should know.
        shared: whether the machines of a cluster must all see the build folder.

    Returns:
        The engine, ready to run tasks.

    Raises:
        EnvironmentFault: a package is not installed, or a cluster cannot be used.
    """
    # One file of each source: a machine that sees it sees the others, too.
    files = [config.source_root(s.name) / next(iter(s.inputs)) for s in plan.sources if s.inputs]
    # Copies of sources at an address are made on each machine that reads them.
    seen = tuple(file for file in files if shared or not is_copy(file))
    needs = NodeNeeds(config.out if shared else None, seen)
    return get_engine(config.engine, config.workers, config.ray_address, needs, progress.log)


def begin(
    config: BuildConfig, plan: Plan, progress: Progress, overwrite: bool
) -> dict[str, Any] | None:
    """Make the build folder ready for a plan, and mark it as an unfinished build.

    Args:
        config: of the build; `config.out` is the folder.
        plan: the plan of the build.
        progress: shows that there is nothing to do.
        overwrite: remove a build that is in the folder, of any plan.

    Returns:
        The manifest if the folder contains the finished build of this plan, else None.

    Raises:
        UsageError: the folder contains another build, or something that is no build.
    """
    prepare(config, plan, overwrite)
    # A second run of a finished build ends here, without a change to any file.
    if config.shard_range is None:
        finished = finished_manifest(config.out)
    else:
        # Without the digests of all files, which every share would read again.
        done = finished_by_another(config.out, plan.build_id)
        finished = stored_manifest(config.out) if done else None
    if finished is None:
        mark_unfinished(config.out)
    else:
        # A run that was killed at its very end has not tidied up.
        tidy_up(config.out)
        progress.log(f"{config.out} is complete; nothing to do.")
    return finished


def prepare(config: BuildConfig, plan: Plan, overwrite: bool) -> None:
    """Check that the build folder can be used for a plan; remove an earlier build if asked to.

    Args:
        config: of the build; `config.out` is the folder.
        plan: the plan of the build.
        overwrite: remove a build that is in the folder, of any plan.

    Raises:
        UsageError: the folder contains another build, or something that is no build.
    """
    out = config.out
    stored = stored_plan(out)
    # A build that was interrupted before it stored its plan has the card of an unfinished build.
    if not holds_earlier(out, "build", lambda folder: stored is not None or is_unfinished(folder)):
        return
    same = stored is not None and stored["build_id"] == plan.build_id
    # A share that replaces another build is the first to come; the others go on with the new one.
    if stored is None or (overwrite and not (same and config.shard_range)):
        remove_build(out)
    elif not same:
        lines = differences(stored["identity"], plan.identity)
        raise UsageError(
            f"{out} contains another build. What differs (there -> asked for):\n"
            + "\n".join(f"  {line}" for line in lines),
            "Build into another folder with --out, or replace that one with --overwrite.",
        )


def check_unchanged(destination: Destination, plan: Plan, again: Plan) -> None:
    """Check that the inputs of a build did not change while it was reading them.

    Args:
        destination: of the build; if they did, what was read of them is removed.
        plan: made before reading.
        again: made after reading.

    Raises:
        InputError: the two plans differ; the message names the files and folders.
    """
    lines = differences(plan.identity, again.identity)
    if lines:
        # Nobody knows which tasks have read which content, so none of them is done.
        destination.discard()
        raise InputError(
            "inputs changed while they were read (before -> now):\n"
            + "\n".join(f"  {line}" for line in lines),
            "Run the same command again; it reads them as they are then.",
        )


def run_stages(
    config: BuildConfig, plan: Plan, stages: Stages, reads: list[Commit] | None = None
) -> dict[str, Any]:
    """Run all stages that are left.

    Args:
        config: of the build.
        plan: the plan of the build.
        stages: runs the tasks.
        reads: records of all read tasks, if reading is done and not checked again.

    Returns:
        The manifest, or what a run of a shard range returns instead (`build`).
    """
    stages.log("begin", build_id=plan.build_id, **places(config))
    if reads is None:
        reads = _read(config, plan, stages)
    if reads is None:
        return _waiting(config, "reading", stages)
    stages.destination.bring_rejects(reads)
    check_rejects(config.out, parse_limit(config.max_rejects), reads)
    paired = _pair(config, plan, reads, stages)
    stages.log("paired", rows={name: item.get("pairs") for name, item in paired.counts.items()})
    manifest = write_and_finalize(config, plan, stages, reads, paired)
    return _waiting(config, "writing", stages) if manifest is None else manifest


def write_and_finalize(
    config: BuildConfig, plan: Plan, stages: Stages, reads: Sequence[Commit], paired: Commit
) -> dict[str, Any] | None:
    """Run the stages after pairing.

    Args:
        config: of the build.
        plan: the plan of the build.
        stages: runs the write tasks.
        reads: commit records of the read tasks.
        paired: commit record of pairing.

    Returns:
        The manifest; None if a shard range leaves shards to other runs that have not finished them.
    """
    tasks = write_tasks(config, paired)
    sizes = [task.stop - task.start for task in tasks]
    written = stages.run("writing", tasks, run_write, sizes, "rows", [paired])
    if written is None:
        return None
    manifest = stages.destination.finalize(config, plan, reads, paired, written)
    for warning in manifest["warnings"]:
        stages.log("warning", **warning)
    stages.log("end", build_id=plan.build_id)
    return manifest


def read_and_pair(
    config: BuildConfig, plan: Plan, progress: Progress
) -> tuple[list[Commit], Commit]:
    """Run the stages before writing, without a log.

    Args:
        config: of the build, without a shard range.
        plan: the plan of the build.
        progress: shows the progress of reading.

    Returns:
        The commit records of the read tasks and of pairing.

    Raises:
        InputError: a source is unreadable as a whole, or there is no admissible sample.
        EnvironmentFault: the engine is not installed, or a worker process died.
    """
    with closing(engine_of(config, plan, progress)) as engine:
        stages = Stages(config, engine, progress, lambda event, **values: None)
        reads = _read(config, plan, stages)
        assert reads is not None  # None occurs only with a shard range
        return reads, _pair(config, plan, reads, stages)


def _read(config: BuildConfig, plan: Plan, stages: Stages) -> list[Commit] | None:
    """Plan the read shards, store the plan, and run the read tasks.

    Raises:
        InputError: a source is unreadable as a whole, or a file changed while it was read.
    """
    shards = read_shards(config, plan)
    store_plan(config.out, plan, shards)
    stages.destination.store_plan()
    filters = Filters(config.min_object_area, config.min_part_area, frozenset(config.classes))
    described = {source.name: source.described for source in plan.sources}
    tasks = [
        ReadTask(config.out, shard, filters, config.profile, described[shard.source])
        for shard in shards
    ]
    sizes = [shard.stop - shard.start for shard in shards]
    try:
        reads = stages.run("reading", tasks, run_read, sizes, "images")
    except Exception:
        # A file that changed explains the error better than what a reader says about its content.
        check_unchanged(stages.destination, plan, make_plan(config))
        raise
    check_unchanged(stages.destination, plan, make_plan(config))
    return reads


def _pair(config: BuildConfig, plan: Plan, reads: list[Commit], stages: Stages) -> Commit:
    """Run the pairing stage.

    Raises:
        InputError: there is no admissible sample.
    """
    paired = stages.destination.pair(config, reads)
    if not any(counts.get("pairs") for counts in paired.counts.values()):
        raise InputError(
            "no pair of comparable objects is left after reading, so there is no dataset:\n"
            + "\n".join(f"  {item['text']}" for item in build_warnings(plan, reads, paired)[:-1])
            + f"\nRejected records:\n{_reject_lines(reads)}",
            "Check the source folders, or lower --min-object-area."
            if config.limit_images is None
            else f"Read more than {config.limit_images} images of a source: --limit-images.",
        )
    return paired


def _waiting(config: BuildConfig, stage: str, stages: Stages) -> dict[str, Any]:
    """Report that other runs have not finished their tasks of a stage, and return the same."""
    assert config.shard_range is not None
    at, of = config.shard_range
    stages.log("waiting", stage=stage)
    stages.progress.log(
        "\n  ".join((f"{stage}: share {at}/{of} is done, other shares are not:", *stages.left))
        + "\nRun this command again when they are, or let it wait with --wait; `mixedparts finalize"
        f" {stages.destination.name}` does all that is left."
    )
    return {"waiting": stage, "shard_range": [at, of], "left": stages.left}


def _reject_lines(reads: Sequence[Commit]) -> str:
    """Return one line for each reason of rejection, with the number of records."""
    reasons: dict[str, int] = {}
    for record in reads:
        for reason, number in record.counts["rejects"].items():
            reasons[reason] = reasons.get(reason, 0) + number
    return "\n".join(f"  rejected, {r}: {n}" for r, n in sorted(reasons.items())) or "  none"
