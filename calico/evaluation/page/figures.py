"""Figures of the report: metrics with intervals, scores of samples, masks, names, confusions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from calico.evaluation.page.tables import NO_NAME, SHOWN, confusions, name_scores
from calico.evaluation.summary import MetricGroup
from calico.evaluation.tables.columns import Outcome
from mixedparts.records import Task
from mixedparts.reports.plots.names import draw_map
from mixedparts.reports.plots.style import (
    FAINT,
    INK,
    TASK_COLOURS,
    legible,
    new_figure,
    plain_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_NAMES = 25
_IN_MATRIX = 18
_POINTS = 2_500
_ACROSS = 4
_OTHER, _POOR, _MISSED, _NOTHING = "(another name)", "(poor mask)", "(missed)", "(nothing there)"


def metrics_figure(groups: Mapping[str, MetricGroup], differences: bool = False) -> Figure:
    """Draw metrics with their intervals.

    Args:
        groups: title to metrics; their differences to another run if `differences`.
        differences: mark 0 instead of starting there.
    """
    down = -(-len(SHOWN) // _ACROSS)
    title = "Differences in points" if differences else "Metrics in percent"
    figure = new_figure(f"{title}, 95 % intervals", 11, 1 + down * (0.7 + 0.24 * len(groups)))
    every = figure.subplots(down, _ACROSS, sharey=True, squeeze=False).ravel()
    places = np.arange(len(groups))
    for axes, (name, metric) in zip(every, SHOWN.items(), strict=True):
        values = [group.metrics[metric] for group in groups.values()]
        centre = np.array([100 * value.value for value in values])
        low = np.array([100 * (v.value if v.low is None else v.low) for v in values])
        high = np.array([100 * (v.value if v.high is None else v.high) for v in values])
        axes.hlines(places, low, high, color="#2f6f8f", linewidth=2)
        axes.plot(centre, places, "o", color=INK, markersize=4)
        axes.set_yticks(places, [legible(group) for group in groups])
        if differences:
            axes.axvline(0, color=INK, linewidth=0.9, linestyle=(0, (4, 2)))
        else:
            axes.set_xlim(min(0, low.min(initial=0)) - 2, 102)  # half a dot beyond both ends
        plain_axes(axes, name, grid="x")
    every[0].invert_yaxis()
    return figure


def scores_figure(samples: pd.DataFrame, metric: str) -> Figure:
    """Draw histograms of a metric of single samples, one a task.

    Args:
        samples: table of samples.
        metric: one of its columns.
    """
    tasks = [task for task in Task if (samples["task"] == str(task)).any()]
    figure = new_figure(f"{metric} of a sample; dashed: the mean", 10, 2.8)
    every = figure.subplots(1, max(1, len(tasks)), squeeze=False)[0]
    for number, (task, axes) in enumerate(zip(tasks, every, strict=False)):
        values = 100 * samples.loc[samples["task"] == str(task), metric].to_numpy()
        axes.hist(values, bins=np.linspace(0, 100, 21).tolist(), color=TASK_COLOURS[task])
        axes.axvline(values.mean(), color=INK, linewidth=0.9, linestyle=(0, (4, 2)))
        axes.set_xlabel("percent", fontsize=8)
        axes.set_ylabel("" if number else "samples", fontsize=8)
        plain_axes(axes, f"{task.replace('_', ' ')}, mean {values.mean():.1f}")
    return figure


def area_figure(regions: pd.DataFrame) -> Figure:
    """Draw IoU of annotated regions against the share of the image that they cover.

    Args:
        regions: table of regions.
    """
    true = regions[regions["name"].notna() & (regions["area_share"] > 0)]
    figure = new_figure("IoU against the size of the annotated mask", 9, 4)
    axes = figure.add_subplot()
    share, iou = true["area_share"].to_numpy(float), true["iou"].to_numpy(float)
    # A fixed subset of the points: all of a large split would make a figure of many megabytes.
    step = max(1, -(-len(true) // _POINTS))
    axes.plot(share[::step], iou[::step], ".", color="#2f6f8f", markersize=2.5, alpha=0.35,
              label=f"region{'' if step == 1 else f' (every {step}th)'}")  # fmt: skip
    edges = np.geomspace(1e-4, 1, 17)
    bins = np.digitize(share, edges)
    centres, middle, low, high, found = [], [], [], [], []
    for number in np.unique(bins):
        inside = iou[bins == number]
        if len(inside) >= 5:  # fewer have no quartiles worth the name
            at = np.clip([number - 1, number], 0, len(edges) - 1)
            centres.append(float(np.sqrt(edges[at[0]] * edges[at[1]])))
            quartiles = np.quantile(inside, (0.25, 0.5, 0.75))
            low.append(quartiles[0])
            middle.append(quartiles[1])
            high.append(quartiles[2])
            found.append((inside >= 0.5).mean())
    axes.fill_between(centres, low, high, color="#d9822b", alpha=0.25, label="quartiles")
    axes.plot(centres, middle, "-o", color="#b3600f", markersize=3, label="median")
    axes.plot(centres, found, "--s", color=INK, markersize=3, label="share with IoU ≥ .5")
    axes.set_xscale("log")
    axes.set_xticks([1e-4, 1e-3, 1e-2, 1e-1, 1], ["0.01 %", "0.1 %", "1 %", "10 %", "100 %"])
    axes.set_xlabel("share of the image; missed regions have an IoU of 0", fontsize=8)
    axes.set_ylabel("IoU", fontsize=8)
    axes.set_ylim(-0.03, 1.03)
    plain_axes(axes)
    figure.legend(ncols=4, loc="outside lower left", frameon=False, fontsize=8)
    return figure


def names_figure(regions: pd.DataFrame) -> Figure:
    """Draw precision and recall of the most annotated names.

    Args:
        regions: table of regions.
    """
    names = name_scores(regions)
    shown = names[names["annotated"] > 0].head(_MOST_NAMES)
    cut = f"the {len(shown)} most annotated of " if len(names) > len(shown) else ""
    figure = new_figure(
        f"Precision and recall of names: {cut}{len(names)}", 8, 1.4 + 0.26 * max(1, len(shown))
    )
    axes = figure.add_subplot()
    places = np.arange(len(shown))
    recall, precision = (100 * shown[column].to_numpy(float) for column in ("recall", "precision"))
    low, high = np.fmin(recall, precision), np.fmax(recall, precision)
    axes.hlines(places, low, high, color=FAINT, linewidth=2)
    # Different marks: colour alone does not tell them apart.
    axes.plot(recall, places, "o", color="#2f6f8f", label="recall")
    axes.plot(precision, places, "D", color="#d9822b", markersize=5, label="precision")
    labels = [
        f"{legible(name or NO_NAME)} ({number:,})"
        for name, number in zip(shown["name"], shown["annotated"], strict=True)
    ]
    axes.set_yticks(places, labels)
    axes.invert_yaxis()
    axes.set_xlim(-2, 102)
    axes.set_xlabel("percent; a mask is right with IoU ≥ .5 and the same name", fontsize=8)
    plain_axes(axes, grid="x")
    figure.legend(ncols=2, loc="outside lower left", frameon=False, fontsize=8)
    return figure


def confusion_figure(regions: pd.DataFrame, kind: str) -> Figure:
    """Draw the confusion matrix of names.

    Args:
        regions: table of regions, of one kind.
        kind: in the title, such as `objects`.
    """
    numbers = confusion_matrix(regions)
    side = 0.3 * max(numbers.shape)
    figure = new_figure(
        f"Names of {kind}: annotated (down), predicted (across)", side + 4, side + 2
    )
    axes: Axes = figure.add_subplot()
    values = numbers.to_numpy(float)
    rows, columns = (
        [name or NO_NAME for name in axis] for axis in (numbers.index, numbers.columns)
    )
    draw_map(axes, values, rows, columns, "regions")
    return figure


def confusion_matrix(regions: pd.DataFrame) -> pd.DataFrame:
    """Return counts of annotated names (rows) by what was predicted (columns).

    Args:
        regions: table of regions.

    Returns:
        A row a name and one for false positives; a column a name, then another name, poor mask and
        missed. Names that are confused most come first, then those that are annotated most.
    """
    wrong = confusions(regions)
    often = wrong.groupby("name")["count"].sum()
    annotated = regions["name_key"].value_counts()
    order = pd.DataFrame({"wrong": often, "all": annotated}).fillna(0)
    order = order.rename_axis("name").reset_index()
    order = order.sort_values(["wrong", "all", "name"], ascending=[False, False, True])
    names = sorted(order["name"].head(_IN_MATRIX))
    outcome = regions["outcome"].astype(str)
    said = regions["predicted_key"].where(regions["predicted_key"].isin(names), _OTHER)
    said = said.mask(outcome == str(Outcome.MISSED), _MISSED)
    said = said.mask(outcome == str(Outcome.POOR_MASK), _POOR)
    true = regions["name_key"].where(regions["name_key"].notna(), _NOTHING)
    counted = pd.crosstab(true, said)
    columns = [*names, _OTHER, _POOR, _MISSED]
    return counted.reindex(index=[*names, _NOTHING], columns=columns, fill_value=0)


def kinds_of(regions: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Divide regions into objects and parts, without kinds that have no region.

    Args:
        regions: table of regions. A false positive has no kind: it counts where its name is
            annotated, else as a part, but in tasks without parts as an object.
    """
    objects = set(regions.loc[regions["kind"] == "object", "name_key"])
    known = regions["kind"] == "object"
    alone = regions["kind"].isna()
    alike = regions["predicted_key"].isin(objects) | (regions["task"] == str(Task.COMMON_OBJECT))
    is_object = known | (alone & alike)
    divided = {"objects": regions[is_object], "parts": regions[~is_object]}
    return {kind: part for kind, part in divided.items() if part["name_key"].notna().any()}
