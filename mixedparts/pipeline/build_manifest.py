"""The manifest: everything a reader may want to know of a build, and the mark that it is whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from mixedparts.pipeline.plan import Plan, SourcePlan
from mixedparts.sources.contract import SPLITS
from mixedparts.sources.manifests import Rename, profiles
from mixedparts.storage.build_folder import BENCHMARK
from mixedparts.storage.schema import SCHEMA_VERSION
from mixedparts.storage.shards import Commit, WrittenFile


def make_manifest(
    plan: Plan,
    reads: Sequence[Commit],
    paired: Commit,
    files: Sequence[WrittenFile],
) -> dict[str, Any]:
    """Return everything that a reader may want to know of a build, as JSON values."""
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
            split: found["selection"]
            for split, found in paired.counts.items()
            if "selection" in found
        },
        "benchmark": {
            "counts": benchmark.get("cells", {}),
            "empty_cells": benchmark.get("empty_cells", []),
        },
        "filtered": _filtered(plan, reads),
        "rejects": dict(sorted(rejects.items())),
        "shards": [asdict(item) for item in files],
    }


def _inputs(source: SourcePlan) -> list[dict[str, str]]:
    """Return the source's files with the digest of their bytes, its folders with that of a list."""
    inputs = []
    for path, digest in sorted(source.inputs.items()):
        kind, _, value = digest.rpartition(":")
        inputs.append({"source": source.name, "path": path, "of": kind or "bytes", "sha256": value})
    return inputs


def renames_of(plan: Plan, name: str) -> tuple[Rename, ...]:
    """Return the names that a source's manifest changes."""
    known = plan.manifests.get(name)
    return known.renames if known else ()


def _upstream(plan: Plan, name: str) -> dict[str, Any]:
    known = plan.manifests.get(name)
    if known is None:
        return {}
    return {
        "classes": len(known.by_name),
        "parts": len(known.part_names()),
        "left_out": sorted(known.left_out),
        "title": known.title,
        "homepage": known.homepage,
        "licence": known.licence,
        "image_licence": known.image_licence,
        "citation": known.citation,
    }


def _comparable(plan: Plan, source: SourcePlan) -> dict[str, dict[str, list[str]]]:
    """Return the class pairs of a source that brings its manifest along: nobody else has them."""
    known = plan.manifests.get(source.name)
    if known is None or not source.described:
        return {}
    return {"comparable": {name: sorted(others) for name, others in known.neighbours().items()}}


def _counts(plan: Plan, paired: Commit) -> dict[str, dict[str, dict[str, int]]]:
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for source in plan.sources:
        counts[source.name] = {}
        for split in source.splits:
            found = paired.counts.get(split, {})
            counts[source.name][split] = {
                "images": found.get("source_images", {}).get(source.name, 0),
                "entities": found.get("source_entities", {}).get(source.name, 0),
                **found.get("cells", {}).get(source.name, {}),
            }
    for split in SPLITS:  # rows of two sources; their images are counted under each source
        for label, tasks in paired.counts.get(split, {}).get("cells", {}).items():
            if label not in counts or split not in counts[label]:
                counts.setdefault(label, {})[split] = {"images": 0, "entities": 0, **tasks}
    return counts


def _filtered(plan: Plan, reads: Sequence[Commit]) -> dict[str, dict[str, dict[str, int]]]:
    dropped = {
        source.name: {split: {"objects": 0, "parts": 0} for split in source.splits}
        for source in plan.sources
    }
    for record in reads:
        for kind, number in record.counts["filtered"].items():
            dropped[record.counts["source"]][record.counts["split"]][kind] += number
    return dropped
