"""Plots of a build's statistics, and the style that all plots of the project share."""

from __future__ import annotations

from mixedparts.reports.plots.draw import draw_plots, figures
from mixedparts.reports.plots.style import load_matplotlib

__all__ = ["draw_plots", "figures", "load_matplotlib"]
