"""The page of a build: chosen rows as one file."""

from __future__ import annotations

import logging
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mixedparts.errors import UsageError
from mixedparts.progress import Progress, Silent
from mixedparts.storage.build_folder import BuildFolder
from mixedparts.storage.digest_list import check_output
from mixedparts.tables.stored_images import ImageReader, open_images
from mixedparts.viewer.build_rows import ReadImage, images_split, sample_of
from mixedparts.viewer.compare import LEAST_IOU, compared
from mixedparts.viewer.page import WrittenPage, write_page
from mixedparts.viewer.panels import Head
from mixedparts.viewer.predictions import Predictions
from mixedparts.viewer.samples import Sample
from mixedparts.viewer.selection import Query, find
from mixedparts.viewer.selection.choose import Chosen, choose, with_splits
from mixedparts.viewer.selection.read import read_rows

LIMIT = 120
_LOG = logging.getLogger(__name__)
_SILENT = Silent()


@dataclass(frozen=True, slots=True)
class PageRequest:
    """What the page of a build shows.

    Attributes:
        query: filters of the rows.
        limit: most rows.
        most_side: pixels of the longer side of an image.
        predictions: a file with predictions; only rows that it has a line for are shown.
    """

    query: Query = field(default_factory=Query)
    limit: int = LIMIT
    most_side: int = 1024
    predictions: Path | None = None


def write_build_page(
    build: Path, out: Path, request: PageRequest, progress: Progress = _SILENT
) -> tuple[WrittenPage, Chosen]:
    """Write rows of a build as one HTML file.

    Args:
        build: the build folder.
        out: the file.
        request: which rows, and how.
        progress: shown while images are read.

    Returns:
        What was written, and what was chosen.

    Raises:
        InputError: there is no finished build in the folder, or it or the predictions are damaged.
        UsageError: a filter names something that the build does not have, or leaves no row; a
            number is too small; or `out` is a file of the build.
    """
    _check_request(request)
    opened = BuildFolder.open(build)
    check_output(build, out)
    predictions = None if request.predictions is None else Predictions(request.predictions)
    query = request.query
    if predictions is not None:
        query = replace(query, among=predictions.ids)
        check_ids(opened, predictions)
    chosen = choose(opened, query, request.limit)
    rows = list(read_rows(opened, chosen.found))
    with ExitStack() as stack:
        read = open_row_images(opened, rows, stack)
        samples = (with_prediction(sample_of(row, read), predictions) for row in rows)
        lead = f"{chosen.rows:,} of {chosen.total:,} rows"
        written = write_page(
            samples,
            out,
            head_of(opened, lead, predictions),
            most_side=request.most_side,
            progress=progress,
        )
    return written, chosen


def check_ids(build: BuildFolder, predictions: Predictions) -> None:
    """Check that predictions are for rows of a build, and log how many are not.

    Raises:
        UsageError: none of them is.
        DamagedShard: a file of the build is missing or damaged.
    """
    query = with_splits(build, Query(among=predictions.ids))
    found = sum(match.rows.size for match in find(build, query))
    lines = len(predictions.ids)
    if not found:
        raise UsageError(
            f"no row of {build.path} has an id of the predictions file {predictions.path}, whose"
            f" first one is '{predictions.first}'",
            "Ids differ between builds: view the build that the model answered.",
        )
    if found < lines:
        _LOG.warning(
            "%s: %d of %d lines are for rows that %s does not have",
            *(predictions.path, lines - found, lines, build.path),
        )


def _check_request(request: PageRequest) -> None:
    for name, value, least in (("limit", request.limit, 1), ("max_side", request.most_side, 16)):
        if value < least:
            raise UsageError(f"{name} must be at least {least}, not {value}")


def with_prediction(sample: Sample, predictions: Predictions | None) -> Sample:
    """Return a sample, which has its masks, with its prediction beside the ground truth, if any.

    Raises:
        InputError: the prediction is broken, or a mask does not fit the sample.
    """
    predicted = None if predictions is None else predictions.answer(sample)
    if predicted is None:
        return sample
    both = compared(sample.answers[0], predicted)
    scores = {"mean IoU": both.mean_iou, "false positives": float(both.false_positives)}
    return replace(sample, answers=(both.truth, both.predicted), scores=scores)


def head_of(build: BuildFolder, lead: str, predictions: Predictions | None = None) -> Head:
    """Return the head of a build's page.

    Args:
        build: the build.
        lead: words about the rows.
        predictions: shown beside the ground truth.

    Returns:
        Title, lead and notes.
    """
    notes = []
    if predictions is not None:
        notes.append(
            f"Predictions of {predictions.path.name}. A predicted mask belongs to the mask of the"
            f" ground truth that it overlaps most, with an IoU of at least {LEAST_IOU}: ✓ same"
            " name, ≠ another name, ✗ no such mask (false positive), ○ missed."
        )
    return Head(
        "MixedParts",
        f"{lead}, build {build.build_id}",
        build.synthetic,
        notes,
        marked=predictions is not None,
    )


def open_row_images(
    build: BuildFolder, rows: Sequence[Mapping[str, Any]], stack: ExitStack
) -> ReadImage:
    """Return a reader of the images of some rows, which works until the stack is closed.

    Args:
        build: the build.
        rows: of `pairs`.
        stack: closes the working files of the reader.

    Returns:
        The reader; it returns None for an image that the build has no pixels of.

    Raises:
        InputError: a shard of `images` is missing or damaged.
    """
    wanted: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        wanted[images_split(row["split"])].update(image["row"] for image in row["images"])
    work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mixedparts-view-")))
    readers: dict[str, ImageReader] = {}
    for split, numbers in wanted.items():
        opened = open_images(build, split, numbers, work / f"{len(readers)}.arrow")
        readers[split] = stack.enter_context(opened)

    def read(split: str, number: int) -> bytes | None:
        reader = readers[split]
        if not reader.has_pixels(number):
            return None
        data: bytes = reader.row(number)["image"]["bytes"]
        return data

    return read
