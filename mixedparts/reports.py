"""What commands tell people, as text and as JSON: a finished build, a dry run, the sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixedparts.card import in_order, split_rows
from mixedparts.plan import manifest_of
from mixedparts.sources import SelfDescribed, available, get_source
from mixedparts.taxonomy import Manifest


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
    lines += reject_lines(values["rejects"])
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


def reject_lines(rejects: dict[str, int]) -> list[str]:
    """Return a line for every reason; `docs/rejects.md` explains them."""
    return [f"rejected, {reason}: {number}" for reason, number in rejects.items()]


def _counts_table(counts: dict[str, Any]) -> str:
    columns = ("images", "entities", "common_object", "common_parts", "unique_parts")
    rows = [
        [source, split, *(str(found.get(key, 0)) for key in columns)]
        for source, splits in sorted(counts.items())
        for split, found in in_order(splits)
    ]
    return text_table(["source", "split", *columns], rows)


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with columns of even width; numbers stand to the right."""
    widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]
    number = [all(row[n][:1].isdigit() for row in rows) for n in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        fitted = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, number, strict=True)
        ]
        return "| " + " | ".join(fitted) + " |"

    marks = ["-" * (width - 1) + (":" if right else "-") for width, right in
             zip(widths, number, strict=True)]  # fmt: skip
    return "\n".join([line(head), line(marks), *map(line, rows)])


def source_list() -> str:
    """Return a line for every registered source."""
    lines = []
    for name in available():
        known = manifest_of(name)
        if known is None and isinstance(get_source(name), SelfDescribed):
            lines.append(f"{name}: described by its own files (show it with --root DIR)")
        else:
            lines.append(f"{name}: {known.title}" if known else name)
    return "\n".join([*lines, "show one with: mixedparts sources show NAME"])


def source_report(name: str, root: Path | None = None) -> str:
    """Return what is known of a source: identity, layout, files, classes with their parts.

    Args:
        root: folder of the sources, for one that is described there.

    Raises:
        UsageError: no source of this name.
        InputError: what describes it below the root is missing or broken.
    """
    source = get_source(name)
    known = manifest_of(name, root)
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
