"""The manifest of a build: its metadata and its files, written when the tables are complete."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from mixedparts.pipeline.build_warnings import build_warnings
from mixedparts.pipeline.plan import Plan, SourcePlan
from mixedparts.records import BENCHMARK, SPLITS
from mixedparts.sources.manifests import Rename, profiles
from mixedparts.storage.schema import SCHEMA_VERSION
from mixedparts.storage.shards import Commit, WrittenFile


def make_manifest(
    plan: Plan,
    reads: Sequence[Commit],
    paired: Commit,
    files: Sequence[WrittenFile],
) -> dict[str, Any]:
    """Return the manifest of a build as JSON values.

    Args:
        plan: the plan of the build.
        reads: commit records of all read tasks.
        paired: commit record of pairing.
        files: all data files of the dataset.

    Returns:
        Build id, versions, configuration, sources and their inputs, counts of rows, filtered and
        rejected records, warnings, and the files with their digests. There is no time and no path
        of this machine in it (but for image folders that the configuration refers to), so that
        equal builds have equal manifests.
    """
    rejects: Counter[str] = Counter()
    for record in (*reads, paired):
        rejects.update(record.counts["rejects"])
    benchmark = paired.counts.get(BENCHMARK, {})
    return {
        "build_id": plan.build_id,
        "schema_version": SCHEMA_VERSION,
        "code_version": plan.identity["code_version"],
        "synthetic": plan.synthetic,
        "configuration": plan.identity["configuration"],
        "profile": asdict(profiles()[plan.profile]),
        "sources": {
            source.name: {
                "version": source.version,
                "splits": list(source.splits),
                "synthetic": source.synthetic,
                **_upstream(plan, source.name),
                **_comparable(plan, source),
            }
            for source in plan.sources
        },
        "inputs": [item for source in plan.sources for item in _inputs(source)],
        "renames": [
            asdict(rename) for source in plan.sources for rename in renames_of(plan, source.name)
        ],
        "counts": _counts(plan, paired),
        "selection": {
            split: counts["selection"]
            for split, counts in paired.counts.items()
            if "selection" in counts
        },
        "benchmark": {
            "counts": benchmark.get("cells", {}),
            "empty_cells": benchmark.get("empty_cells", []),
        },
        "filtered": _filtered(plan, reads),
        "rejects": dict(sorted(rejects.items())),
        "warnings": build_warnings(plan, reads, paired),
        "shards": [asdict(item) for item in files],
    }


def _inputs(source: SourcePlan) -> list[dict[str, str]]:
    """Return the inputs of a source, each with its digest and with what the digest is of."""
    inputs = []
    # The digest of a folder has a word before it, that of a file none (`inputs.digests_below`).
    for path, digest in sorted(source.inputs.items()):
        kind, _, value = digest.rpartition(":")
        inputs.append({"source": source.name, "path": path, "of": kind or "bytes", "sha256": value})
    return inputs


def renames_of(plan: Plan, name: str) -> tuple[Rename, ...]:
    """Return the renames in the manifest of a source, from native to canonical names."""
    manifest = plan.manifests.get(name)
    return manifest.renames if manifest else ()


def _upstream(plan: Plan, name: str) -> dict[str, Any]:
    """Return the metadata of a source's manifest; nothing for a source without one."""
    manifest = plan.manifests.get(name)
    if manifest is None:
        return {}
    return {
        "classes": len(manifest.by_name),
        "parts": len(manifest.part_names()),
        "left_out": sorted(manifest.left_out),
        "title": manifest.title,
        "homepage": manifest.homepage,
        "licence": manifest.licence,
        "image_licence": manifest.image_licence,
        "citation": manifest.citation,
    }


def _comparable(plan: Plan, source: SourcePlan) -> dict[str, dict[str, list[str]]]:
    """Return the comparable classes of a source that describes itself."""
    # Those of other sources follow from `manifests/groups.yaml` of the code version. A manifest
    # that a source brings along may be missing when the build is verified or read later.
    manifest = plan.manifests.get(source.name)
    if manifest is None or not source.described:
        return {}
    return {"comparable": {name: sorted(others) for name, others in manifest.neighbours().items()}}


def _counts(plan: Plan, paired: Commit) -> dict[str, dict[str, dict[str, int]]]:
    """Return {source: {split: {images, entities, and rows of each task}}}."""
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for source in plan.sources:
        counts[source.name] = {}
        for split in source.splits:
            of_split = paired.counts.get(split, {})
            counts[source.name][split] = {
                "images": of_split.get("source_images", {}).get(source.name, 0),
                "entities": of_split.get("source_entities", {}).get(source.name, 0),
                **of_split.get("cells", {}).get(source.name, {}),
            }
    # Cells of two sources have a label of their own, such as `ade20k+paco`. Their images and
    # entities are counted under each source already.
    for split in SPLITS:
        for label, tasks in paired.counts.get(split, {}).get("cells", {}).items():
            if label not in counts or split not in counts[label]:
                counts.setdefault(label, {})[split] = {"images": 0, "entities": 0, **tasks}
    return counts


def _filtered(plan: Plan, reads: Sequence[Commit]) -> dict[str, dict[str, dict[str, int]]]:
    """Return {source: {split: {objects, parts}}} that were smaller than the least areas."""
    dropped = {
        source.name: {split: {"objects": 0, "parts": 0} for split in source.splits}
        for source in plan.sources
    }
    for record in reads:
        for kind, number in record.counts["filtered"].items():
            dropped[record.counts["source"]][record.counts["split"]][kind] += number
    return dropped
