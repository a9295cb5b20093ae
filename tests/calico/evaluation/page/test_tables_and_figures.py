"""Tables and figures of the report: every number of a few regions, counted by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from calico.evaluation.page.figures import (
    area_figure,
    confusion_figure,
    confusion_matrix,
    kinds_of,
    names_figure,
)
from calico.evaluation.page.samples import chosen_samples
from calico.evaluation.page.tables import (
    confusion_table,
    confusions,
    name_scores,
    odd_table,
    outcome_table,
)
from calico.predictions.types import COUNTED
from mixedparts.reports.plots.style import plot_style
from mixedparts.viewer import RowLink


def region(
    sample: str, task: str, kind: str | None, names: tuple[str | None, str | None], **rest: Any
) -> dict[str, Any]:
    """A row of the table of regions: annotated and predicted name, None for a side not there."""
    name, said = names
    row = {"id": sample, "task": task, "kind": kind, "name": name, "name_key": name}
    return row | {"predicted_key": said, "iou": 0.0, "area_share": 0.02} | rest


REGIONS = pd.DataFrame(
    [
        region("s1", "common_parts", "common_part", ("lid", "lid"), outcome="found", iou=0.9),
        region("s1", "common_parts", "common_part", ("rim", "lid"), outcome="wrong_name", iou=0.6),
        region("s1", "common_parts", "common_part", ("lid", None), outcome="missed"),
        region("s1", "common_parts", None, (None, "spout"), outcome="false_positive"),
        region("s1", "common_parts", "object", ("cup", "pan"), outcome="wrong_name", iou=0.7),
        region("s2", "common_object", "object", ("pan", "pan"), outcome="poor_mask", iou=0.3),
        region("s3", "common_object", None, (None, "cup"), outcome="false_positive"),
        region("s4", "common_parts", "object", ("cup", "pan"), outcome="wrong_name", iou=0.8),
        region("s4", "common_parts", "common_part", ("lid", ""), outcome="wrong_name", iou=0.5),
    ]
)


def test_precision_and_recall_of_names() -> None:
    names = name_scores(REGIONS).set_index("name")
    assert list(names.index) == ["lid", "cup", "pan", "rim", "", "spout"]  # most annotated first
    assert names["annotated"].tolist() == [3, 2, 1, 1, 0, 0]
    assert names["predicted"].tolist() == [2, 1, 3, 0, 1, 1]
    assert names["right"].tolist() == [1, 0, 0, 0, 0, 0]
    assert names["recall"].tolist() == pytest.approx([1 / 3, 0, 0, 0, np.nan, np.nan], nan_ok=True)
    assert names["precision"].tolist() == pytest.approx([1 / 2, 0, 0, np.nan, 0, 0], nan_ok=True)
    assert names["iou"].tolist()[:4] == pytest.approx([1.4 / 3, 0.75, 0.3, 0.6])
    assert names["kinds"].tolist() == ["common_part", "object", "object", "common_part", "", ""]


def test_names_that_are_mistaken_for_each_other() -> None:
    found = confusions(REGIONS)
    assert found.drop(columns="kind").to_dict("split")["data"] == [
        ["cup", "pan", 2, "s1", 1.0],
        ["lid", "", 1, "s4", pytest.approx(1 / 3)],
        ["rim", "lid", 1, "s1", 1.0],
    ]
    rows = confusion_table(found, ["s1"], "test").rows
    assert [row[1:5] for row in rows] == [
        ["cup", "pan", 2, "100.0"], ["lid", "(no name)", 1, "33.3"], ["rim", "lid", 1, "100.0"],
    ]  # fmt: skip
    assert isinstance(rows[0][5], RowLink)  # the page has this sample
    assert rows[1][5] == "s4"


def test_confusion_matrices() -> None:
    divided = kinds_of(REGIONS)
    counted = {kind: confusion_matrix(regions) for kind, regions in divided.items()}
    assert list(counted) == ["objects", "parts"]
    objects = counted["objects"].stack()
    assert objects[objects > 0].to_dict() == {
        ("cup", "pan"): 2, ("pan", "(poor mask)"): 1, ("(nothing there)", "cup"): 1,
    }  # fmt: skip
    parts = counted["parts"].stack()
    assert parts[parts > 0].to_dict() == {
        ("lid", "lid"): 1, ("lid", "(missed)"): 1, ("lid", "(another name)"): 1, ("rim", "lid"): 1,
        ("(nothing there)", "(another name)"): 1,
    }  # fmt: skip


def test_a_label_without_words_has_a_name_in_the_matrix() -> None:
    regions = REGIONS.assign(name_key=REGIONS["name_key"].replace("rim", ""))
    with plot_style():
        figure = confusion_figure(kinds_of(regions)["parts"], "parts")
        drawn = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert drawn == ["(no name)", "lid", "(nothing there)"]


def test_what_became_of_regions() -> None:
    rows = outcome_table(REGIONS).rows
    assert rows == [  # found, wrong name, poor mask, missed, false positive
        ["common_object", "object", 0, 0, 1, 0, 0],
        ["common_object", "predicted only", 0, 0, 0, 0, 1],
        ["common_parts", "common_part", 1, 2, 0, 1, 0],
        ["common_parts", "object", 0, 2, 0, 0, 0],
        ["common_parts", "predicted only", 0, 0, 0, 0, 1],
    ]


def test_odd_segments_are_counted_by_task() -> None:
    samples = pd.DataFrame(
        [{"task": task, **dict.fromkeys(COUNTED, 0), "untagged": number}
         for task, number in (("common_object", 2), ("common_parts", 0), ("common_parts", 3))]
    )  # fmt: skip
    rows = {row[0]: row[2:] for row in odd_table(samples).rows}
    assert rows["untagged"] == [5, 2, 2, 3]  # number, samples, then each task
    assert rows["malformed tag"] == [0, 0, 0, 0]


def test_worst_median_and_best_samples() -> None:
    values = {"a": 0.5, "b": 0.1, "c": 0.9, "d": 0.1, "e": 0.7, "f": 0.3, "g": 0.6}
    samples = pd.DataFrame({"id": values.keys(), "m": values.values()})
    assert chosen_samples(samples, "m", 2) == {
        "b": ("worst",), "d": ("worst",), "a": ("median",), "c": ("best",),
    }  # fmt: skip
    shuffled = samples.sample(frac=1, random_state=1)
    assert chosen_samples(shuffled, "m", 3) == {
        "b": ("worst",), "d": ("worst",), "f": ("worst", "median"), "a": ("median",),
        "c": ("best",), "e": ("best",),
    }  # fmt: skip


def test_iou_against_the_size_of_masks() -> None:
    """Ten regions of 2 % and five of 30 % of the image, four small ones without quartiles."""
    ious = {0.02: np.arange(10) / 10, 0.3: np.array([0.2, 0.4, 0.6, 0.8, 1.0]), 0.001: np.ones(4)}
    rows = [
        region("s", "common_parts", "common_part", ("lid", "lid"), outcome="found", iou=float(iou))
        | {"area_share": share}
        for share, values in ious.items()
        for iou in values
    ]
    rows.append(region("s", "common_parts", None, (None, "x"), outcome="false_positive"))
    with plot_style():
        points, median, found = area_figure(pd.DataFrame(rows)).axes[0].lines
    assert len(points.get_xdata()) == 19  # annotated regions
    assert list(median.get_ydata()) == pytest.approx([0.45, 0.6])
    assert list(found.get_ydata()) == pytest.approx([0.5, 0.6])
    for share, centre in zip((0.02, 0.3), median.get_xdata(), strict=True):
        assert share / 2 < float(centre) < share * 2


def test_the_figure_of_names_has_their_numbers() -> None:
    with plot_style():
        axes = names_figure(REGIONS).axes[0]
    recall, precision = (line.get_xdata() for line in axes.lines)
    assert list(recall) == pytest.approx([100 / 3, 0, 0, 0])
    assert list(precision) == pytest.approx([50, 0, 0, np.nan], nan_ok=True)
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["lid (3)", "cup (2)", "pan (1)", "rim (1)"]
