"""What commands tell people, as text and as JSON: a finished build, a dry run, the sources."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mixedparts.build import read_and_pair
from mixedparts.card import in_order, split_rows
from mixedparts.config import BuildConfig
from mixedparts.plan import make_plan, manifest_of
from mixedparts.progress import Progress
from mixedparts.schema import CONFIGS
from mixedparts.shards import Commit
from mixedparts.sources import available, get_source
from mixedparts.taxonomy import Manifest
from mixedparts.write_stage import WriteTask, pictures_bytes, run_write, write_tasks


@dataclass(frozen=True, slots=True)
class Report:
    """The same facts twice: for people and for programs."""

    text: str
    values: dict[str, Any]


def build_report(out: Path, manifest: dict[str, Any]) -> Report:
    """Return what a finished build holds, and what to type next."""
    values = {
        "out": str(out),
        **{key: manifest[key] for key in ("build_id", "synthetic", "counts", "filtered")},
        "benchmark": manifest["benchmark"],
        "rejects": manifest["rejects"],
        "rows": {table: split_rows(manifest, table) for table in ("pairs", "images")},
        "bytes": sum(shard["bytes"] for shard in manifest["shards"]),
    }
    lines = [_counts_table(manifest["counts"])]
    lines += _reject_lines(values["rejects"])
    empty = manifest["benchmark"]["empty_cells"]
    if empty:
        cells = ", ".join(f"{source}/{task}" for source, task in empty)
        lines.append(f"no benchmark rows for: {cells}")
    made = " (synthetic)" if manifest["synthetic"] else ""
    megabytes = values["bytes"] / 1e6
    lines.append(f"dataset{made} in {out}: {sum(values['rows']['pairs'].values())} rows,")
    lines[-1] += f" {megabytes:.1f} MB, build {manifest['build_id']}"
    lines.append(f"next: calico-train --dataset {out}")
    return Report("\n".join(lines), values)


def dry_run_report(config: BuildConfig, progress: Progress) -> Report:
    """Read and pair for real in a folder that is thrown away, and say what a build would hold.

    Nothing is written to the build folder. Bytes of `images` are those of the pictures; bytes of
    `pairs` are extrapolated from one shard of at most a thousand rows.
    """
    with tempfile.TemporaryDirectory(prefix="mixedparts-dry-run-") as folder:
        trial = replace(config, out=Path(folder), shard_range=None)
        plan = make_plan(trial)
        reads, paired = read_and_pair(trial, plan, progress)
        tasks = write_tasks(trial, paired)
        counts = {
            split: {key: found.get(key, 0) for key in ("images", "pairs")}
            for split, found in paired.counts.items()
            if "pairs" in found
        }
        rejects = _sum_rejects([*reads, paired])
        sizes = {"images": pictures_bytes(trial, paired), "pairs": _pairs_bytes(tasks, paired)}
        values = {
            "build_id": plan.build_id,
            "synthetic": plan.synthetic,
            "splits": counts,
            "entities": sum(record.counts["entities"] for record in reads),
            "shards": {table: sum(task.table == table for task in tasks) for table in CONFIGS},
            "bytes": sizes,
            "rejects": rejects,
        }
    lines = ["| split | images | pairs |", "|---|---|---|"]
    lines += [f"| {s} | {found['images']} | {found['pairs']} |" for s, found in counts.items()]
    lines.append(f"entities: {values['entities']}")
    for table, number in values["shards"].items():
        size = f", about {sizes[table] / 1e6:.1f} MB" if table in sizes else ""
        lines.append(f"{table}: {number} shards{size}")
    lines += _reject_lines(rejects)
    lines.append(f"dry run: nothing was written to {config.out}")
    return Report("\n".join(lines), values)


def _pairs_bytes(tasks: list[WriteTask], paired: Commit) -> int:
    total: int = sum(found.get("pairs", 0) for found in paired.counts.values())
    for task in tasks:
        if task.table == "pairs":
            trial = replace(task, stop=min(task.stop, task.start + 1_000))
            written = run_write(trial).files[0]
            return round(written.bytes * total / written.rows)
    return 0


def _sum_rejects(reads: list[Commit]) -> dict[str, int]:
    total: dict[str, int] = {}
    for record in reads:
        for reason, number in record.counts["rejects"].items():
            total[reason] = total.get(reason, 0) + number
    return dict(sorted(total.items()))


def _reject_lines(rejects: dict[str, int]) -> list[str]:
    return [f"rejected, {reason}: {number}" for reason, number in rejects.items()]


def _counts_table(counts: dict[str, Any]) -> str:
    tasks = ("common_object", "common_parts", "unique_parts")
    lines = ["| source | split | images | entities | " + " | ".join(tasks) + " |", "|---" * 7 + "|"]
    for source, splits in sorted(counts.items()):
        for split, found in in_order(splits):
            numbers = [found.get(key, 0) for key in ("images", "entities", *tasks)]
            lines.append(f"| {source} | {split} | " + " | ".join(map(str, numbers)) + " |")
    return "\n".join(lines)


def source_list() -> str:
    """Return a line for every registered source."""
    lines = []
    for name in available():
        known = manifest_of(name)
        lines.append(f"{name}: {known.title}" if known else name)
    return "\n".join([*lines, "show one with: mixedparts sources show NAME"])


def source_report(name: str) -> str:
    """Return what is known of a source: identity, layout, files, classes with their parts.

    Raises:
        UsageError: no source of this name.
    """
    source = get_source(name)
    known = manifest_of(name)
    layout = "\n".join(f"  {line}" for line in source.layout(Path("DIR")).splitlines())
    if known is None:
        return f"{name} {source.version}\nlayout:\n{layout}"
    return "\n".join([*_identity(known), "layout:", layout, *_classes(known)])


def _identity(known: Manifest) -> list[str]:
    lines = [
        f"{known.title} ({known.source}), version {known.version}",
        f"home: {known.homepage}",
        f"download: {known.download}",
        f"licence of annotations: {known.licence}",
        f"licence of images: {known.image_licence}",
        f"cite: {known.citation}",
    ]
    for item in known.files:
        facts = [f"sha256 {item.sha256}"] if item.sha256 else []
        facts += [f"{item.bytes} bytes"] if item.bytes else []
        lines.append(f"file: {', '.join([item.name, *facts, item.evidence])}")
    for split, numbers in known.counts.items():
        lines.append(f"{split}: " + ", ".join(f"{key} {value}" for key, value in numbers.items()))
    return lines


def _classes(known: Manifest) -> list[str]:
    lines = [f"classes: {len(known.by_name)} names for {len(known.objects)} upstream classes"]
    for name in sorted(known.by_name):
        parts = ", ".join(known.part_names(name)) or "no parts"
        lines.append(f"  {name}: {parts}")
    lines.append("comparable groups:")
    for group in known.groups:
        lines.append(f"  {group.name} ({group.reason}): {', '.join(group.classes)}")
    return lines
