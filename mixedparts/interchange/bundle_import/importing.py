"""A build out of a published bundle: its pairs instead of drawn ones, everything else alike."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedparts import __version__
from mixedparts.entities.table import EntityColumns, map_table
from mixedparts.errors import InputError
from mixedparts.interchange.bundle_import.bundle import Bundle, open_bundle
from mixedparts.interchange.bundle_import.split_import import SplitImport, task_name
from mixedparts.pairing.samples import in_order
from mixedparts.pipeline.build import Stages, event_log, prepare
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.engines import get_engine
from mixedparts.pipeline.finalize import (
    finalize,
    finished_manifest,
    mark_unfinished,
)
from mixedparts.pipeline.pair import store_samples
from mixedparts.pipeline.plan import (
    Plan,
    SourcePlan,
    code_digest,
    digests_below,
    is_synthetic,
    store_plan,
)
from mixedparts.pipeline.rejects import check_rejects, parse_limit
from mixedparts.pipeline.workspace import WORK, store_table
from mixedparts.pipeline.write import run_write, write_tasks
from mixedparts.progress import Progress
from mixedparts.sources.contract import SPLITS
from mixedparts.sources.manifests import load_manifest, manifests_digest
from mixedparts.storage.schema import SCHEMA_VERSION
from mixedparts.storage.shards import Commit, WrittenFile, committed

_VERSION = "published-1"


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """What an import is asked for.

    Attributes:
        bundle: folder that holds `mixed_parts_{train,val,test}.json`.
        root: folder of the upstream pictures and files that the bundle does not hold.
        out: the build folder.
        splits: those to take; empty: all that are there.
        images: `embed` or `reference`, as in a build.
        max_rejects: as in a build, but by default an import takes whatever can be used.
    """

    bundle: Path
    root: Path
    out: Path
    splits: tuple[str, ...] = ()
    images: str = "embed"
    workers: int = 1
    max_rejects: str = "100%"


def import_bundle(
    request: ImportRequest, progress: Progress, overwrite: bool = False
) -> dict[str, Any]:
    """Make a build folder out of a bundle, or finish one that was interrupted.

    Returns:
        The manifest.

    Raises:
        InputError: a file of the bundle or of its sources is missing, or nothing can be used.
        UsageError: the folder holds another build, or something that is no build.
    """
    bundle = open_bundle(request.bundle, request.root, request.splits)
    config = _config(bundle, request)
    plan = _plan(bundle, config)
    prepare(config, plan, overwrite)
    finished = finished_manifest(config.out)
    if finished is not None:
        progress.log(f"{config.out} is complete; nothing to do.")
        return finished
    mark_unfinished(config.out)
    with event_log(config.out) as log, closing(get_engine("local", config.workers)) as engine:
        log("begin", build_id=plan.build_id)
        store_plan(config.out, plan, [])
        reads, paired = _paired(bundle, config, progress)
        check_rejects(config.out, parse_limit(config.max_rejects), reads)
        tasks = write_tasks(config, paired)
        sizes = [task.stop - task.start for task in tasks]
        written = Stages(config, engine, progress, log).run(
            "writing", tasks, run_write, sizes, "rows"
        )
        assert written is not None  # there is no shard range
        manifest = finalize(config, plan, reads, paired, written)
        log("end", build_id=plan.build_id)
    return manifest


def _config(bundle: Bundle, request: ImportRequest) -> BuildConfig:
    """Return the choices of the build; the bundle has filtered already, and divided ADE itself."""
    sources = tuple(sorted({name for used in bundle.used.values() for name in used}))
    roots = {
        source: next(
            bundle.place(source, split).pictures
            for split, used in bundle.used.items()
            if source in used
        )
        for source in sources
    }
    return BuildConfig(
        sources=sources,
        root=request.root,
        source_roots=roots,
        out=request.out,
        images=request.images,
        min_object_area=0.0,
        min_part_area=0.0,
        profile=bundle.profile,
        ade20k_test="official",
        workers=request.workers,
        max_rejects=request.max_rejects,
    )


def _plan(bundle: Bundle, config: BuildConfig) -> Plan:
    inputs: dict[str, dict[str, str]] = {source: {} for source in config.sources}
    for source, name, path in bundle.inputs():
        inputs[source][name] = digests_below(path.parent, [path.name])[path.name]
    sources = tuple(
        SourcePlan(
            source,
            _VERSION,
            tuple(split for split in SPLITS if source in bundle.used.get(split, ())),
            bundle.synthetic or is_synthetic(config.source_root(source), _tops(source)),
            inputs[source],
        )
        for source in config.sources
    )
    identity = {
        "configuration": config.identity() | {"imported": "published", "whole": bundle.whole},
        "schema_version": SCHEMA_VERSION,
        "code_version": f"{__version__}+{code_digest()[:12]}",
        "manifests": manifests_digest(),
        "sources": {source.name: asdict(source) for source in sources},
    }
    text = json.dumps(identity, sort_keys=True)
    build_id = hashlib.sha256(text.encode()).hexdigest()[:32]
    known = {name: load_manifest(name, bundle.profile) for name in config.sources}
    return Plan(build_id, json.loads(text), sources, known)


def _tops(source: str) -> tuple[str, ...]:
    folders = {"paco": ("coco", "coco_2017", "paco"), "partimagenet": ("PartImageNet",)}
    return folders.get(source, ("ADE20KPart234",))


def _paired(bundle: Bundle, config: BuildConfig, progress: Progress) -> tuple[list[Commit], Commit]:
    """Read every split, and store entities and samples as pairing does.

    Raises:
        InputError: no pair can be used.
    """
    base = config.out / WORK
    names = [task_name(source, split) for split in bundle.files for source in config.sources]
    done = [committed(config.out, name, base) for name in (*names, "pair")]
    if all(done):
        *reads, paired = [record for record in done if record is not None]
        return reads, paired
    reads = []
    splits: dict[str, EntityColumns] = {}
    samples: dict[str, NDArray[np.void]] = {}
    files: list[WrittenFile] = []
    for split in bundle.files:
        split_import = SplitImport(bundle, config, split, progress)
        table, rows = split_import.run()
        reads += split_import.commits()
        if len(rows):
            files.append(store_table(base, f"{split}.arrow", table))
            splits[split] = EntityColumns.of(map_table(base / f"{split}.arrow"))
            samples[split] = in_order(split, splits[split], rows)
    if not samples:
        reasons = Counter(str(reject) for record in reads for reject in record.counts["rejects"])
        raise InputError(
            f"no pair of {bundle.root} can be used; rejected for {', '.join(sorted(reasons))}",
            "Check that --root holds the pictures and files that the bundle refers to.",
        )
    return reads, store_samples(config, splits, samples, [], files)
