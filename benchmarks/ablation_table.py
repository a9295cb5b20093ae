"""Results of the ablation study as Markdown: means over seeds, differences to the full model."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scipy import stats

from benchmarks.other_image import TASKS as OTHER_IMAGE_TASKS
from calico.evaluation.in_memory import OVERALL
from calico.evaluation.summary import HEADLINE
from mixedparts.records import Task

Result = Mapping[str, Any]
Read = Callable[[Result], float]

BASE = "full"
_LEVEL = 0.95


def _metric(group: str, name: str) -> Read:
    return lambda result: float(result["metrics"][group][name])


def _other(task: Task, name: str) -> Read:
    return lambda result: float(result["other_image"][task][name])


BY_TASK: dict[str, Read] = {
    f"{task} {title}": _metric(task, name)
    for task in Task
    for title, name in (("mIoU", "miou_strict"), ("F1", "label_f1"))
}
IN_ALL: dict[str, Read] = {title: _metric(OVERALL, name) for title, name in HEADLINE.items()}
OTHER: dict[str, Read] = {
    f"{task} {name}": _other(task, name)
    for task in OTHER_IMAGE_TASKS
    for name in ("exact", "choice")
}


def tables(results: Sequence[Result]) -> str:
    """Return all tables of a study with what they say; metrics stand in percent.

    Args:
        results: of finished runs, in any order; at least one.
    """
    runs = {(one["plan"]["variant"], one["plan"]["seed"]): one for one in results}
    variants = list(dict.fromkeys(variant for variant, _ in runs))
    by_variant = {name: [runs[key] for key in sorted(runs) if key[0] == name] for name in variants}
    asked = {task: marks["pairs"] for task, marks in results[0]["other_image"].items()}
    other = {name: read for name, read in OTHER.items() if name.split()[0] in asked}
    listed = ", ".join(f"{number} of {task}" for task, number in asked.items())
    lines = [
        "Per task: strict mIoU (misses count 0) and F1 of the labels, in percent; mean ± standard "
        "deviation over seeds.",
        "",
        *_means(by_variant, BY_TASK),
        "",
        "All tasks together, the five metrics of the paper:",
        "",
        *_means(by_variant, IN_ALL),
        "",
    ]
    if asked:
        lines += [
            f"Questions that need the other image ({listed}; see above). 50 is the most that can "
            "be had from the image alone that the answer is for:",
            "",
            *_means(by_variant, other),
            "",
        ]
    others = [name for name in variants if name != BASE]
    if BASE in by_variant and others:
        choices = {name: read for name, read in other.items() if name.endswith("choice")}
        lines += _differences(runs, others, BY_TASK | choices)
    return "\n".join(lines).rstrip()


def _means(by_variant: Mapping[str, Sequence[Result]], columns: Mapping[str, Read]) -> list[str]:
    head = ["variant", "seeds", "CPU s, training", *columns]
    rows = []
    for name, runs in by_variant.items():
        cpu = statistics.mean(run["cpu"]["train"] for run in runs)
        cells = [_spread([100 * read(run) for run in runs]) for read in columns.values()]
        rows.append([name, str(len(runs)), f"{cpu:,.0f}", *cells])
    return _markdown(head, rows)


def _differences(
    runs: Mapping[tuple[str, int], Result], others: Sequence[str], columns: Mapping[str, Read]
) -> list[str]:
    """Return the table of differences to the full model, seed by seed, and a sentence on it."""
    rows = []
    compared = told_apart = 0
    below: list[str] = []
    for name in others:
        seeds = sorted(seed for variant, seed in runs if variant == name and (BASE, seed) in runs)
        cells = []
        for title, read in columns.items():
            values = [100 * (read(runs[name, seed]) - read(runs[BASE, seed])) for seed in seeds]
            apart = excludes_zero(values)
            compared += len(values) > 1
            told_apart += apart
            if apart:
                below.append(f"{name}, {title}: {statistics.mean(values):+.1f}")
            cells.append(_spread(values, signed=True) + (" *" if apart else ""))
        rows.append([name, str(len(seeds)), *cells])
    lines = [
        f"Differences to `{BASE}`, percentage points, paired by seed (variant minus full; mean ± "
        "standard deviation). A star: the 95 % interval of the mean difference (Student's t) "
        "leaves out 0.",
        "",
        *_markdown(["variant", "seeds", *columns], rows),
        "",
    ]
    if compared:
        chance = (1 - _LEVEL) * compared
        named = f" ({'; '.join(below)})" if below else ""
        lines.append(
            f"{told_apart} of {compared} differences have a star{named}; without any difference, "
            f"about {chance:.0f} would by chance."
        )
    return lines


def excludes_zero(values: Sequence[float]) -> bool:
    """Say whether the t interval of the mean leaves out 0; False for fewer than two values."""
    if len(values) < 2:
        return False
    deviation = statistics.stdev(values)
    reach = float(stats.t.ppf(0.5 + _LEVEL / 2, len(values) - 1)) * deviation / len(values) ** 0.5
    return bool(abs(statistics.mean(values)) > reach)


def _spread(values: Sequence[float], signed: bool = False) -> str:
    if not values:
        return ""
    mean = f"{statistics.mean(values):{'+' if signed else ''}.1f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.1f}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = "|---|" + "---:|" * (len(head) - 1)
    return [f"| {' | '.join(head)} |", rule, *(f"| {' | '.join(row)} |" for row in rows)]
