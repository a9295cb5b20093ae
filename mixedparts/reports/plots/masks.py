"""Plots of mask sizes: shares of the image, and areas in pixels, with named thresholds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixedparts.reports.plots.counts import titled
from mixedparts.reports.plots.style import INK, plain_axes
from mixedparts.reports.statistics import COCO_LIMITS, LEVELS, Statistics, coco_sizes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEVEL_COLOURS = {"object": "#2f6f8f", "part": "#d9822b"}
_DASHED = (0, (4, 2))


def mask_areas(statistics: Statistics) -> Figure:
    """Draw a histogram of the share of its image that each mask of `entities` covers."""
    figure = titled(statistics, "Share of the image that a mask covers, every mask once", 7.5, 3.8)
    axes = figure.add_subplot()
    for level in LEVELS:
        shares = statistics.shares[level]
        if shares.size:
            # 12 bins a power of ten, equally wide on the logarithmic axis.
            bins = np.geomspace(1e-4, 1, 49).tolist()
            label = f"{level}s ({shares.size:,}; median {np.median(shares):.1%})"
            axes.hist(
                np.clip(shares, 1e-4, 1),
                bins=bins,
                alpha=0.65,
                color=LEVEL_COLOURS[level],
                label=label,
            )
    filters = statistics.manifest["configuration"]
    for level in LEVELS:
        least = filters[f"min_{level}_area"]
        if least > 0:  # an imported build has no such filter
            _named_line(axes, least, f"min_{level}_area {100 * least:g} %")
    axes.set_xscale("log")
    axes.set_xticks([1e-4, 1e-3, 1e-2, 1e-1, 1], ["0.01 %", "0.1 %", "1 %", "10 %", "100 %"])
    axes.set_ylabel("masks", fontsize=8)
    axes.set_xlabel("share of the image; dashed: the least that the build accepts", fontsize=8)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    plain_axes(axes)
    figure.legend(ncols=2, loc="outside lower left", frameon=False, fontsize=8)
    return figure


def mask_sizes(statistics: Statistics) -> Figure:
    """Draw histograms of the areas of masks in pixels, with COCO's limits of size."""
    figure = titled(statistics, "Area of a mask in pixels, every mask once", 7.5, 4.4)
    every = figure.subplots(len(LEVELS), 1, sharex=True)
    highest = max((int(areas.max(initial=1)) for areas in statistics.areas.values()), default=1)
    for axes, level in zip(every, LEVELS, strict=True):
        areas = statistics.areas[level]
        counts = coco_sizes(areas)
        shares = ", ".join(
            f"{name} {number / max(1, areas.size):.0%}" for name, number in counts.items()
        )
        bins = np.geomspace(1, 10 * highest, 61).tolist()
        if areas.size:
            axes.hist(np.clip(areas, 1, None), bins=bins, color=LEVEL_COLOURS[level], alpha=0.85)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.set_xlim(1, 10 ** np.ceil(np.log10(max(highest, 96**2) + 1)))
        for name, limit in COCO_LIMITS.items():
            _named_line(axes, limit, f"{name} ends: {int(limit**0.5)}²")
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.set_ylabel("masks", fontsize=8)
        plain_axes(axes, f"{level}s ({areas.size:,}): {shares}")
    every[-1].set_xlabel("pixels of the stored image; COCO's small, medium and large", fontsize=8)
    return figure


def _named_line(axes: Axes, place: float, name: str) -> None:
    """Draw a dashed line with its name beside its upper end."""
    axes.axvline(place, color=INK, linewidth=0.9, linestyle=_DASHED)
    axes.annotate(
        name, (place, 1), (3, -2), xycoords=("data", "axes fraction"), textcoords="offset points",
        va="top", fontsize=7, color=INK,
    )  # fmt: skip
