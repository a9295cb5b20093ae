"""Finish a build that other runs have started, given its folder alone (`mixedparts finalize`).

The stored plan has every choice that decides the result, and the log has the folders that the last
run has read. Where all of reading is done, the sources are not looked at again, but for the images
that are written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mixedparts.errors import InputError, UsageError
from mixedparts.pipeline.build import build, engine_of, run_stages
from mixedparts.pipeline.config import BuildConfig, config_values
from mixedparts.pipeline.finalize import (
    done_elsewhere,
    finished_manifest,
    mark_unfinished,
    tidy_up,
)
from mixedparts.pipeline.plan import Plan, SourcePlan, differences, plan_of
from mixedparts.pipeline.remote.sources import with_local_sources
from mixedparts.pipeline.runs.event_log import event_log, read_events
from mixedparts.pipeline.runs.places import absolute_places, noted_places, stored_choices
from mixedparts.pipeline.stages import Stages
from mixedparts.progress import Progress
from mixedparts.settings.local_paths import address_of, shown
from mixedparts.sources.manifests import manifest_of
from mixedparts.storage.build_folder import stored_plan
from mixedparts.storage.shards import Commit
from mixedparts.storage.writer_lock import writing

_THREADS = 4


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """What to finish, and how.

    Attributes:
        out: build folder or address.
        where: values of `BuildConfig` that do not decide the result: `root`, `source_roots`,
            `max_rejects`, `workers`, `engine`, `ray_address`. What is missing is as in the last
            run; workers and engine as in `BuildConfig`.
    """

    out: Path
    where: Mapping[str, Any] = field(default_factory=dict)


def finalize_build(request: CompletionRequest, progress: Progress) -> dict[str, Any]:
    """Finish a build, with the result of the command that started it.

    Args:
        request: what to finish.
        progress: shows messages and the progress of each stage.

    Returns:
        The manifest.

    Raises:
        InputError: there is no build, or what is left needs a source that is not there.
        UsageError: the build is an import, or was started with other code or inputs.
        EnvironmentFault: a run is writing there, or the engine cannot be used.
        ProblemsFound: too many records were rejected.
    """
    if (address := address_of(request.out)) is not None:
        # Imported only when needed: object storage takes packages of its own.
        from mixedparts.pipeline.remote.unfinished import stored_in

        stored, events = stored_in(address)
        if stored is None:
            raise _no_build(request.out)
        return build(_config(request, stored, events), progress)
    with writing(request.out, progress.log):
        stored = stored_plan(request.out)
        if stored is None:
            raise _no_build(request.out)
        finished = finished_manifest(request.out)
        if finished is not None:
            tidy_up(request.out)
            progress.log(f"{request.out} is complete; nothing to do.")
            return finished
        config = _config(request, stored, read_events(request.out))
        reads = _all_reads(request.out, stored)
        if reads is not None:
            config = with_local_sources(config, progress)
            return _finish(config, _plan(config, stored), reads, progress)
    return build(config, progress)


def _no_build(out: Path) -> InputError:
    return InputError(f"{shown(out)} contains no build", "Start one with: mixedparts build --out")


def _config(
    request: CompletionRequest, stored: Mapping[str, Any], events: Iterable[Mapping[str, Any]]
) -> BuildConfig:
    """Return the configuration that a build was started with.

    Raises:
        UsageError: the plan is that of an import, or of other code.
    """
    configuration = stored["identity"]["configuration"]
    choices = stored_choices(shown(request.out), configuration)
    noted = noted_places(events)
    roots = {**noted.pop("source_roots", {}), **request.where.get("source_roots", {})}
    if "root" in request.where:
        # Sources that have moved are below the new root, but for those that are named with it.
        roots = dict(request.where.get("source_roots", {}))
    where = {**noted, **request.where, "source_roots": roots, "out": request.out}
    values = config_values(
        {name: str(value) if isinstance(value, Path) else value for name, value in where.items()},
        f"the log of {shown(request.out)}, with the options given,",
    )
    config = BuildConfig(**{**choices, **values})
    # A field that this version does not have, or one that is new, makes another build.
    # As JSON, which turns tuples into lists.
    lines = differences(configuration, json.loads(json.dumps(config.identity())))
    if lines:
        raise UsageError(
            f"{shown(request.out)} was begun with choices that this run cannot have (there ->"
            " here):\n" + "\n".join(f"  {line}" for line in lines),
            "Name the folders with --root and --source-root, or use the version of mixedparts that"
            " began it.",
        )
    # Processes on other machines have other working folders.
    return replace(config, **absolute_places(config)) if config.engine == "ray" else config


def _all_reads(build_folder: Path, stored: Mapping[str, Any]) -> list[Commit] | None:
    """Return the records of all read tasks if their files are intact, else None."""
    names = [shard["task"] for shard in stored.get("read", [])]
    with ThreadPoolExecutor(_THREADS) as pool:
        records = list(pool.map(lambda name: done_elsewhere(build_folder, name), names))
    complete = [record for record in records if record is not None]
    return complete if names and len(complete) == len(names) else None


def _plan(config: BuildConfig, stored: Mapping[str, Any]) -> Plan:
    """Return the plan that a build has stored, without a look at the inputs.

    Raises:
        UsageError: it was made by other code.
    """
    sources = tuple(
        SourcePlan(**{**source, "splits": tuple(source["splits"])})
        for _, source in sorted(stored["identity"]["sources"].items())
    )
    manifests = {
        source.name: manifest_of(source.name, config.source_root(source.name), config.profile)
        for source in sources
    }
    plan = plan_of(config.identity(), sources, manifests)
    if lines := differences(stored["identity"], plan.identity):
        raise UsageError(
            f"{config.out} was begun with other code (there -> here):\n"
            + "\n".join(f"  {line}" for line in lines),
            "Use the version of mixedparts that began it, or build again with --overwrite.",
        )
    return plan


def _finish(
    config: BuildConfig, plan: Plan, reads: list[Commit], progress: Progress
) -> dict[str, Any]:
    """Run the stages after reading; the caller holds the lock of the folder."""
    mark_unfinished(config.out)
    with event_log(config.out) as log, closing(engine_of(config, plan, progress)) as engine:
        return run_stages(config, plan, Stages(config, engine, progress, log), reads)
