"""Plots of counts: samples, use of images and class pairs, names, words of answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mixedparts.records import SPLITS, Task
from mixedparts.reports.plots.style import INK, TASK_COLOURS, legible, new_figure, plain_axes
from mixedparts.reports.statistics import Cell, Statistics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_NAMES = 25  # bars in the plot of names


def titled(statistics: Statistics, title: str, width: float, height: float) -> Figure:
    """Return an empty figure whose title says if sources are synthetic.

    Args:
        statistics: counts of a build.
        title: of the figure.
        width: in inches.
        height: in inches.

    Returns:
        The figure, without axes.
    """
    made = " (synthetic sources)" if statistics.manifest["synthetic"] else ""
    return new_figure(f"{title}{made}", width, height)


def _tasks(statistics: Statistics) -> list[Task]:
    """Return the tasks that have samples, in the order of `Task`."""
    return [task for task in Task if any(key[2] == task for key in statistics.samples)]


def _sources(statistics: Statistics) -> list[str]:
    """Return the sources that have samples, pairs of sources included."""
    return sorted({source for _, source, _ in statistics.samples})


def _words(task: Task) -> str:
    return task.replace("_", " ")


def samples(statistics: Statistics) -> Figure:
    """Draw the numbers of samples by source, split and task as stacked bars."""
    rows = sorted(
        {(source, split) for split, source, _ in statistics.samples},
        key=lambda key: (key[0], SPLITS.index(key[1])),
    )
    figure = titled(statistics, "Samples by source, split and task", 8, 1.2 + 0.34 * len(rows))
    axes = figure.add_subplot()
    places = np.arange(len(rows))
    left = np.zeros(len(rows))
    for task in _tasks(statistics):
        widths = np.array([statistics.samples[split, source, task] for source, split in rows])
        # Each task's bar starts where the one before it ends.
        axes.barh(places, widths, 0.7, left, color=TASK_COLOURS[task], label=_words(task))
        left = left + widths
    for place, total in zip(places, left, strict=True):
        axes.annotate(f"{total:,.0f}", (total, place), (4, 0), textcoords="offset points",
                      va="center", fontsize=8, color=INK)  # fmt: skip
    axes.set_yticks(places, [f"{legible(source)}  {split}" for source, split in rows])
    axes.invert_yaxis()  # the first row at the top
    axes.margins(x=0.1)  # space for the numbers at the ends of the bars
    axes.xaxis.set_major_formatter("{x:,.0f}")
    plain_axes(axes, grid="x")
    figure.legend(ncols=3, loc="outside lower left", frameon=False, fontsize=8)
    return figure


def _grid(statistics: Statistics, figure: Figure) -> Iterator[tuple[Cell, Axes, bool, bool]]:
    """Yield cell and axes for every source (down) and task (across).

    Yields:
        The cell, its axes, whether they are in the left column, whether they are in the last row.
    """
    sources, tasks = _sources(statistics), _tasks(statistics)
    every = figure.subplots(len(sources), len(tasks), squeeze=False)
    for down, source in enumerate(sources):
        for across, task in enumerate(tasks):
            cell = source, str(task)
            yield cell, every[down][across], across == 0, down == len(sources) - 1


def image_use(statistics: Statistics) -> Figure:
    """Draw a histogram of the samples of an image for each cell, with percentiles marked."""
    height = 1.1 + 1.7 * len(_sources(statistics))
    figure = titled(
        statistics, "Samples an image is in; lines: 5th, 50th, 95th percentile", 10, height
    )
    for cell, axes, left, bottom in _grid(statistics, figure):
        uses = statistics.uses(cell)
        plain_axes(axes, f"{legible(cell[0])}, {_words(Task(cell[1]))}")
        if not uses.size:
            axes.set_axis_off()
            axes.text(0, 0.8, "no samples", fontsize=8, color=INK)
            continue
        axes.hist(uses, bins=list(_whole_bins(uses)), color=TASK_COLOURS[Task(cell[1])], alpha=0.85)
        marks = np.quantile(uses, (0.05, 0.5, 0.95))
        for mark in marks:
            axes.axvline(mark, color=INK, linewidth=0.9, linestyle=(0, (4, 2)))
        percentiles = " / ".join(f"{mark:.0f}" for mark in marks)
        axes.set_title(percentiles, fontsize=8, color=INK, loc="right")
        axes.set_xlim(left=0)
        axes.set_ylabel("images" if left else "", fontsize=8)
        axes.set_xlabel("samples" if bottom else "", fontsize=8)
    return figure


def _whole_bins(values: NDArray[np.int64], most: int = 40) -> NDArray[np.float64]:
    """Return at most `most` + 1 bin edges that are half-way between integers.

    Every bin covers the same number of integers; otherwise integer data would show stripes.
    """
    low, high = int(values.min()), int(values.max())
    # Integers in a bin: their number over the number of bins, rounded up.
    step = max(1, -(-(high - low + 1) // most))
    return np.arange(low - 0.5, high + step + 0.5, step)


def class_pairs(statistics: Statistics) -> Figure:
    """Draw the samples of each class pair by rank, one plot a source, logarithmic."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    sources = _sources(statistics)
    across = min(3, len(sources))
    down = -(-len(sources) // across)
    title = "Samples a class pair has, most used first"
    figure = titled(statistics, title, 3.4 * across + 0.6, 3.1 * down + 0.3)
    every = figure.subplots(down, across, squeeze=False).ravel()
    # The grid can have more places than there are sources.
    for spare in every[len(sources) :]:
        spare.set_axis_off()
    for number, (source, axes) in enumerate(zip(sources, every, strict=False)):
        for task in _tasks(statistics):
            rows = sorted(
                statistics.class_pairs.get((source, str(task)), {}).values(), reverse=True
            )
            if rows:
                label = f"{_words(task)} ({len(rows)})"
                ranks = np.arange(1, len(rows) + 1)
                marker = "o" if len(rows) == 1 else None  # a line of one point shows nothing
                axes.plot(
                    ranks, rows, color=TASK_COLOURS[task], linewidth=1.8, label=label, marker=marker
                )
        axes.set_yscale("log")
        # Plain numbers instead of powers of ten, and labels at 2 and 5 too: an axis may span less
        # than one power of ten and would then have a single label.
        for formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            formatter("{x:,.0f}")
        axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_xlabel("class pair, by rank", fontsize=8)
        axes.set_ylabel("" if number % across else "samples", fontsize=8)
        plain_axes(axes, legible(source))
        axes.tick_params(which="minor", labelsize=8, length=2)
        axes.legend(frameon=False, fontsize=7, title="task (class pairs)", title_fontsize=7)
    return figure


def names(statistics: Statistics) -> Figure:
    """Draw the most frequent classes and part names, by the masks that samples ground."""
    from matplotlib.ticker import MaxNLocator

    figure = titled(statistics, "Masks that samples ground, by name", 10, 6.2)
    for axes, title, counts, colour in zip(
        figure.subplots(1, 2),
        ("classes", "parts"),
        (statistics.classes, statistics.parts),
        ("#2f6f8f", "#d9822b"),
        strict=True,
    ):
        shown = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_MOST_NAMES]
        axes.barh(range(len(shown)), [n for _, n in shown], 0.75, color=colour)
        axes.set_yticks(range(len(shown)), [legible(name) for name, _ in shown])
        axes.invert_yaxis()
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        cut = f"the {len(shown)} most frequent of " if len(counts) > len(shown) else ""
        plain_axes(axes, f"{title}: {cut}{len(counts)}", grid="x")
    return figure


def answer_words(statistics: Statistics) -> Figure:
    """Draw a histogram of the words of an answer for each task, with the mean marked."""
    tasks = _tasks(statistics)
    figure = titled(statistics, "Words of an answer, tags and [SEG] included", 9, 3)
    every = figure.subplots(1, len(tasks), squeeze=False)[0]
    for number, (task, axes) in enumerate(zip(tasks, every, strict=True)):
        counted = sorted(statistics.words[task].items())
        words, answers = (np.array(column) for column in zip(*counted, strict=True))
        bins = list(_whole_bins(words))
        axes.hist(words, bins=bins, weights=answers, color=TASK_COLOURS[task], alpha=0.85)
        mean = float(np.average(words, weights=answers))
        axes.set_xlim(min(words) - 3, max(words) + 3)
        axes.axvline(mean, color=INK, linewidth=0.9, linestyle=(0, (4, 2)))
        axes.set_xlabel("words", fontsize=8)
        axes.set_ylabel("answers" if number == 0 else "", fontsize=8)
        axes.yaxis.set_major_formatter("{x:,.0f}")
        plain_axes(axes, f"{_words(task)}, mean {mean:.1f}")
    return figure
