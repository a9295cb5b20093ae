"""Reports of commands as text and as JSON: the summary of a finished build, and text tables."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixedparts.cards.card import in_split_order, split_rows
from mixedparts.records import BENCHMARK
from mixedparts.settings.local_paths import shown, typed


@dataclass(frozen=True, slots=True)
class Report:
    """One result in two forms: `text` for people, `values` as JSON values for programs."""

    text: str
    values: Any


def build_report(out: Path, manifest: dict[str, Any]) -> Report:
    """Return the report of a finished build, with the command that comes next."""
    values = {
        "out": shown(out),
        **{key: manifest[key] for key in ("build_id", "synthetic", "counts")},
        "filtered": manifest.get("filtered", {}),
        "benchmark": manifest["benchmark"],
        "rejects": manifest["rejects"],
        # An older version of this program wrote no warnings.
        "warnings": manifest.get("warnings", []),
        "rows": {table: split_rows(manifest, table) for table in ("pairs", "images")},
        "bytes": sum(shard["bytes"] for shard in manifest["shards"]),
    }
    lines = [_counts_table(manifest["counts"])]
    lines += reject_lines(values["rejects"])
    empty = manifest["benchmark"].get("empty_cells", [])
    if empty:
        cells = ", ".join(f"{source}/{task}" for source, task in empty)
        lines.append(f"no benchmark rows for: {cells}")
    made = " (synthetic)" if manifest["synthetic"] else ""
    megabytes = values["bytes"] / 1e6
    lines.append(f"dataset{made} in {shown(out)}: {sum(values['rows']['pairs'].values())} rows,")
    lines[-1] += f" {megabytes:.1f} MB, build {manifest['build_id']}"
    lines += warning_lines(values["warnings"])
    lines += _next_lines(out, values["rows"]["pairs"])
    return Report("\n".join(lines), values)


def reject_lines(rejects: dict[str, int]) -> list[str]:
    """Return a line for every reason code; `docs/rejects.md` explains the codes."""
    return [f"rejected, {reason}: {number}" for reason, number in rejects.items()]


def warning_lines(warnings: Sequence[dict[str, Any]]) -> list[str]:
    """Return a line for every warning of a build."""
    return [f"warning: {warning['text']}" for warning in warnings]


def _next_lines(out: Path, rows: dict[str, int]) -> list[str]:
    """Return what to type after a build with these rows of each split."""
    folder = typed(out)
    # Double quotes inside, because the shell's are single.
    place = json.dumps(shown(out), ensure_ascii=False)
    code = f"import mixedparts; print(mixedparts.load_dataset({place}))"
    lines = [
        f"load:   python -c {shlex.quote(code)}",
        f"verify: mixedparts verify {folder}",
        f"view:   mixedparts view {folder} --out view.html",
    ]
    if rows.get("train"):
        return [*lines, f"next: calico-train --dataset {folder}"]
    for split in (BENCHMARK, "test", "validation"):
        if rows.get(split):
            return [
                *lines,
                f"next: calico-eval --dataset {folder} --split {split} --checkpoint DIR",
            ]
    return lines


def _counts_table(counts: dict[str, Any]) -> str:
    """Return the counts of a manifest as a table with one row for each source and split."""
    columns = ("images", "entities", "common_object", "common_parts", "unique_parts")
    rows = [
        [source, split, *(str(numbers.get(key, 0)) for key in columns)]
        for source, splits in sorted(counts.items())
        for split, numbers in in_split_order(splits)
    ]
    return text_table(["source", "split", *columns], rows)


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns are padded to equal width, for terminals too.

    Columns of numbers are aligned to the right; a column counts as one if every cell is empty or
    starts with a digit.
    """
    widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]
    number = [all(row[n][:1].isdigit() or not row[n] for row in rows) for n in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        fitted = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, number, strict=True)
        ]
        return "| " + " | ".join(fitted) + " |"

    marks = ["-" * (width - 1) + (":" if right else "-") for width, right in
             zip(widths, number, strict=True)]  # fmt: skip
    return "\n".join([line(head), line(marks), *map(line, rows)])
