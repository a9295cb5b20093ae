"""Samples in a browser: images side by side, masks, phrases, filters; as one file or as a server.

To show samples, make `Sample` values and call `write_page`: `mixedparts view` for the
rows of a build, a report of an evaluation for its best and worst predictions.

    from mixedparts.viewer import Answer, Head, Kind, Region, Sample, ShownImage, write_page
    write_page(samples, Path("page.html"), Head(title="Worst predictions"))

`mixedparts.viewer.page.data` documents the data that the page contains.
"""

from __future__ import annotations

from mixedparts.viewer.page import WrittenPage, write_page
from mixedparts.viewer.panels import Figure, Head, RowLink, Table
from mixedparts.viewer.samples import Answer, Kind, Mark, Region, Sample, ShownImage

__all__ = [
    "Answer",
    "Figure",
    "Head",
    "Kind",
    "Mark",
    "Region",
    "RowLink",
    "Sample",
    "ShownImage",
    "Table",
    "WrittenPage",
    "write_page",
]
