"""Reports of an evaluation: Markdown tables, and one JSON document for programs."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from calico.evaluation.summary import HEADLINE, METRICS, Estimate, MetricGroup, Summary
from calico.predictions.types import SYNTHETIC_KEY, SYNTHETIC_NOTE
from mixedparts.errors import EnvironmentFault
from mixedparts.storage.shards import written_beside

FORMAT = "calico-eval/1"
_PACKAGES = ("mixedparts", "numpy", "scipy", "pycocotools", "torch", "transformers")
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Scored:
    """One set of predictions with its metrics.

    Attributes:
        name: in the tables.
        summary: its metrics.
        metadata: its origin and counts (missing, untagged, …), as JSON values.
    """

    name: str
    summary: Summary
    metadata: Mapping[str, Any]


def synthetic_notes(named: Iterable[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """Return a sentence for each model that was trained on synthetic images.

    Args:
        named: name of the predictions with their metadata.
    """
    return [
        f"The model of {name} {SYNTHETIC_NOTE}"
        for name, metadata in named
        if metadata.get(SYNTHETIC_KEY)
    ]


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that the numbers depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}


def document(scored: Sequence[Scored], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Build the JSON document: metadata of the run, then every metric of every group.

    Args:
        scored: the evaluated predictions, then the baselines.
        metadata: dataset, seed, text models and the like, as JSON values.
    """
    return {
        "format": FORMAT,
        **metadata,
        "versions": versions(),
        "headline": dict(HEADLINE),
        "results": [
            {"name": item.name, **item.metadata, "metrics": summary_values(item.summary)}
            for item in scored
        ],
    }


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON document; errors as `write_text`."""
    # allow_nan=False: NaN is not JSON, and no metric may be undefined.
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file under a temporary name, then rename it.

    Raises:
        EnvironmentFault: the file cannot be written.
    """
    try:
        # Not flushed to disk: the same command writes it again.
        with written_beside(path, flush=False) as temporary:
            temporary.write_text(text, "utf-8")
    except OSError as error:
        raise EnvironmentFault(f"{path} cannot be written: {error.strerror or error}") from error


def table(scored: Sequence[Scored]) -> str:
    """Return the five metrics in percent as Markdown, one row a task and set of predictions."""
    head = ["task", "predictions", "n", *HEADLINE]
    rows = [
        [title, item.name, str(group.samples), *_percent(group, HEADLINE.values())]
        for title, groups in _headline_rows(scored)
        for item, group in zip(scored, groups, strict=True)
    ]
    return markdown_table(head, rows, numbers_from=2)


def markdown_report(scored: Sequence[Scored], content: Mapping[str, Any]) -> str:
    """Return a Markdown document: the means over tasks, as in the paper, then one table a task.

    Args:
        scored: the evaluated predictions, then the baselines.
        content: the JSON document.
    """
    dataset, drawn = content["dataset"], content["bootstrap"]["replicates"]
    sections = [
        *synthetic_notes((item.name, item.metadata) for item in scored),
        f"Split {dataset['split']} of build `{dataset['build_id']}`"
        f"{' (synthetic images)' * bool(content.get('synthetic_dataset'))},"
        f" {dataset['samples']} samples"
        f" ({dataset['left_out']} left out). Percent, mean over the tasks"
        + (f"; 95 % intervals from {drawn} bootstrap draws." if drawn else "."),
        _table_of([(item, item.summary.overall) for item in scored]),
    ]
    for task in scored[0].summary.tasks:
        sections.append(f"## {task}")
        sections.append(_table_of([(item, item.summary.tasks[task]) for item in scored]))
    sections.append("## Where the numbers come from")
    texts = content["text_models"]
    lines = [f"{item['name']} ({item['kind']}): {_origin(item)}" for item in content["results"]]
    lines += [
        f"seed {content['seed']}; text models: SS {texts['ss']}, Recall {texts['recall']}",
        "versions: "
        + ", ".join(f"{name} {number}" for name, number in content["versions"].items()),
        "definitions and variants: docs/evaluation.md",
    ]
    sections.append("\n".join(f"- {line}" for line in lines))
    return "# Evaluation\n\n" + "\n\n".join(sections) + "\n"


def _table_of(rows: Sequence[tuple[Scored, MetricGroup]]) -> str:
    cells = [
        [item.name, str(group.samples), *(_cell(group.metrics[m]) for m in HEADLINE.values())]
        for item, group in rows
    ]
    return markdown_table(["predictions", "n", *HEADLINE], cells, numbers_from=1)


def _cell(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"{100 * estimate.value:.1f}"
    return f"{100 * estimate.value:.1f} ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"


def _origin(result: Mapping[str, Any]) -> str:
    digest = f"sha256 `{result['digest']}`, " if "digest" in result else ""
    return f"{digest}{result['segments']} masks, {result['missing']} samples without a prediction"


def full_table(item: Scored) -> str:
    """Return every metric of every group in percent with its 95 % interval, as Markdown."""
    named = item.summary.groups(cells=True)
    named |= {f"classes {name}": group for name, group in item.summary.class_pairs.items()}
    rows = []
    for title, group in named.items():
        for metric in METRICS:
            value = group.metrics[metric]
            drawn = value.low is not None and value.high is not None
            interval = f"{100 * value.low:.1f} to {100 * value.high:.1f}" if drawn else ""  # type: ignore[operator]
            rows.append([title, str(group.samples), metric, f"{100 * value.value:.1f}", interval])
    return markdown_table(["group", "n", "metric", "value", "95 %"], rows, numbers_from=3)


def _headline_rows(scored: Sequence[Scored]) -> list[tuple[str, list[MetricGroup]]]:
    tasks = list(scored[0].summary.tasks)
    rows = [(task, [item.summary.tasks[task] for item in scored]) for task in tasks]
    return [*rows, ("all tasks", [item.summary.overall for item in scored])]


def _percent(group: MetricGroup, metrics: Any) -> list[str]:
    return [f"{100 * group.metrics[metric].value:.1f}" for metric in metrics]


def markdown_table(head: list[str], rows: list[list[str]], numbers_from: int) -> str:
    """Return a Markdown table.

    Args:
        head: names of the columns.
        rows: cells, as many a row as columns.
        numbers_from: first column that is set flush right.

    Returns:
        The lines of the table.
    """
    # Padded to equal widths, so that the source is a table too: people read it on a terminal.
    rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [
        " | ".join(
            cell.rjust(width) if column >= numbers_from else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in [head, *rows]
    ]
    rule = "|".join(
        "-" * (width + 1) + (":" if column >= numbers_from else "-")
        for column, width in enumerate(widths)
    )
    return "\n".join([f"| {lines[0]} |", f"|{rule}|", *(f"| {line} |" for line in lines[1:])])


def summary_values(summary: Summary) -> dict[str, Any]:
    """Return all metrics of all groups as JSON values."""
    return {
        "overall": _group(summary.overall),
        "tasks": {name: _group(group) for name, group in summary.tasks.items()},
        "sources": {name: _group(group) for name, group in summary.sources.items()},
        "cells": {
            task: {source: _group(group) for source, group in cells.items()}
            for task, cells in summary.cells.items()
        },
        "class_pairs": {name: _group(group) for name, group in summary.class_pairs.items()},
    }


def _group(group: MetricGroup) -> dict[str, Any]:
    result: dict[str, Any] = {"samples": group.samples}
    for metric, estimate in group.metrics.items():
        entry = {"value": round(estimate.value, _DIGITS)}
        if estimate.low is not None and estimate.high is not None:
            entry["low"] = round(estimate.low, _DIGITS)
            entry["high"] = round(estimate.high, _DIGITS)
        result[metric] = entry
    return result
