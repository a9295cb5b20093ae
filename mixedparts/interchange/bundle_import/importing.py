"""Import of the authors' bundle as a build.

The pairs come from the bundle's records and not from the sampler. Entities, tables, card and
manifest are written by the same code as in `mixedparts build`.
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mixedparts.entities.table import EntityColumns, map_table
from mixedparts.errors import InputError
from mixedparts.interchange.bundle_import.bundle import Bundle, open_bundle
from mixedparts.interchange.bundle_import.split_import import SplitImport, task_name
from mixedparts.pairing.samples import in_order
from mixedparts.pipeline.build import (
    begin,
    check_unchanged,
    write_and_finalize,
)
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.destination import OnDisk
from mixedparts.pipeline.engines import get_engine
from mixedparts.pipeline.inputs import digests_below
from mixedparts.pipeline.pair import store_samples
from mixedparts.pipeline.plan import (
    Plan,
    SourcePlan,
    is_synthetic,
    plan_of,
    store_plan,
)
from mixedparts.pipeline.reject_limit import parse_limit
from mixedparts.pipeline.rejects import check_rejects
from mixedparts.pipeline.replacement import work_folder
from mixedparts.pipeline.runs.event_log import event_log
from mixedparts.pipeline.stages import Stages
from mixedparts.pipeline.workspace import WORK, store_table
from mixedparts.progress import Progress
from mixedparts.sources.contract import SPLITS
from mixedparts.sources.manifests import load_manifest
from mixedparts.storage.shards import Commit, WrittenFile, committed
from mixedparts.storage.writer_lock import writing

_VERSION = "published-1"


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """Options of one import.

    Attributes:
        bundle: folder that contains `mixed_parts_{train,val,test}.json`.
        root: folder of the upstream images and files that the bundle does not contain.
        out: the build folder to write.
        splits: splits to import; empty: all that the bundle has.
        images: `embed` or `reference`, as in a build.
        workers: number of processes that write shards.
        max_rejects: limit on rejected records, as in a build. The default accepts any number.
    """

    bundle: Path
    root: Path
    out: Path
    splits: tuple[str, ...] = ()
    images: Literal["embed", "reference"] = "embed"
    workers: int = 1
    max_rejects: str = "100%"


def import_bundle(
    request: ImportRequest, progress: Progress, overwrite: bool = False
) -> dict[str, Any]:
    """Import a bundle into a build folder, or finish an interrupted import.

    Args:
        request: options of the import.
        progress: receives the progress of every stage.
        overwrite: whether to replace another build in the folder; a finished one stays until the
            new one is finished.

    Returns:
        The manifest of the build.

    Raises:
        InputError: a file of the bundle or of its sources is missing, or no record is usable.
        UsageError: the folder contains another build, or files that are not a build.
        ProblemsFound: more records were rejected than `request.max_rejects` allows.
        EnvironmentFault: another process writes to the folder.
    """
    with writing(request.out, progress.log):
        return _import(request, progress, overwrite)


def _import(request: ImportRequest, progress: Progress, overwrite: bool) -> dict[str, Any]:
    bundle = open_bundle(request.bundle, request.root, request.splits)
    config = _config(bundle, request)
    plan = _plan(bundle, config)
    with work_folder(config.out, plan.build_id, overwrite) as place:
        overwrite = overwrite and not place.staged
        return _import_into(replace(config, out=place.folder), bundle, plan, progress, overwrite)


def _import_into(
    config: BuildConfig, bundle: Bundle, plan: Plan, progress: Progress, overwrite: bool
) -> dict[str, Any]:
    if (finished := begin(config, plan, progress, overwrite)) is not None:
        return finished
    with event_log(config.out) as log, closing(get_engine("local", config.workers)) as engine:
        log("begin", build_id=plan.build_id)
        store_plan(config.out, plan, [])
        reads, paired = _paired(bundle, config, progress)
        check_unchanged(OnDisk(config.out), plan, _plan(bundle, config))
        check_rejects(config.out, parse_limit(config.max_rejects), reads)
        stages = Stages(config, engine, progress, log)
        manifest = write_and_finalize(config, plan, stages, reads, paired)
    assert manifest is not None  # None occurs only with a shard range, which an import lacks
    return manifest


def _config(bundle: Bundle, request: ImportRequest) -> BuildConfig:
    """Return the configuration of the build that the bundle becomes.

    Raises:
        InputError: a file or folder is missing, or the images are below several folders.
    """
    sources = tuple(sorted({name for used in bundle.used.values() for name in used}))
    roots = {source: bundle.image_root(source) for source in sources}
    return BuildConfig(
        sources=sources,
        root=request.root,
        source_roots=roots,
        out=request.out,
        images=request.images,
        # The authors filtered by area already; a second filter would drop pairs of the bundle.
        min_object_area=0.0,
        min_part_area=0.0,
        profile=bundle.profile,
        # The bundle's records decide which images are test images, not a hash of the image id.
        ade20k_test="official",
        workers=request.workers,
        max_rejects=request.max_rejects,
    )


def _plan(bundle: Bundle, config: BuildConfig) -> Plan:
    """Return the plan, whose build id depends on every input file and on the configuration."""
    inputs: dict[str, dict[str, str]] = {source: {} for source in config.sources}
    # Names of the layout and not paths: the build id must not depend on where the files lie.
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
    # `imported` keeps the id of an import apart from that of a build.
    configuration = config.identity() | {"imported": "published", "whole": bundle.whole}
    if not bundle.whole:
        configuration["part_area_of_export"] = bundle.min_part_area
    manifests = {name: load_manifest(name, bundle.profile) for name in config.sources}
    return plan_of(configuration, sources, manifests)


def _tops(source: str) -> tuple[str, ...]:
    """Return the top folders of a source in which the mark of synthetic data may lie."""
    folders = {"paco": ("coco", "coco_2017", "paco"), "partimagenet": ("PartImageNet",)}
    return folders.get(source, ("ADE20KPart234",))


def _paired(bundle: Bundle, config: BuildConfig, progress: Progress) -> tuple[list[Commit], Commit]:
    """Read every split, and store entities and samples as the pairing stage of a build does.

    Returns:
        The commit records of reading, one for each source and split, and that of pairing.

    Raises:
        InputError: no pair is usable.
    """
    base = config.out / WORK
    names = [task_name(source, split) for split in bundle.files for source in config.sources]
    done = [committed(config.out, name, base) for name in (*names, "pair")]
    # Reading and pairing resume only as a whole: samples refer to rows of the entity tables, so a
    # part of the records is of no use without the rest.
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
            # Reopen the file memory-mapped: the table in memory is released with the next split.
            splits[split] = EntityColumns.of(map_table(base / f"{split}.arrow"))
            samples[split] = in_order(split, splits[split], rows)
    if not samples:
        reasons = Counter(str(reject) for record in reads for reject in record.counts["rejects"])
        raise InputError(
            f"no pair of {bundle.root} can be used; rejected for {', '.join(sorted(reasons))}",
            "Check that --root contains the images and files that the bundle refers to.",
        )
    return reads, store_samples(config, splits, samples, [], files)
