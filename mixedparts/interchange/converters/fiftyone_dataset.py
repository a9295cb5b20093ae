"""Rows of `pairs` as a FiftyOne dataset: one group a row, one sample an image."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixedparts.errors import EnvironmentFault, InputError, UsageError, missing_package
from mixedparts.interchange.converters.regions import OBJECT, RowRegion, row_regions
from mixedparts.records import BENCHMARK, SPLITS
from mixedparts.storage.build_folder import BuildFolder
from mixedparts.storage.checked_rows import checked_rows
from mixedparts.tables.stored_images import image_suffix, open_images

if TYPE_CHECKING:
    import fiftyone

_TEXTS = ("source", "split", "task", "question", "answer")


def to_fiftyone(
    source: str | os.PathLike[str] | Iterable[Mapping[str, Any]],
    name: str,
    media: str | os.PathLike[str],
    splits: Sequence[str] | None = None,
    limit: int | None = None,
) -> fiftyone.Dataset:
    """Make a FiftyOne dataset of a build or of rows of `pairs`.

    A row is a group with the slices `image1`, `image2`, …. A sample has the fields `objects` and
    `parts`, with the mask of each region cut to its box, and the row's id, source, split, task,
    question and answer.

    Args:
        source: a build folder, or rows with pixels (or one), as `mixedparts.load_dataset` gives
            them.
        name: of the dataset; must be new.
        media: folder that gets the image files, which FiftyOne reads from there.
        splits: of a build; None for train, validation and test.
        limit: most rows, of each split of a build; None for all of them.

    Returns:
        The dataset, not persistent: set `dataset.persistent = True` to keep it.

    Raises:
        InputError: there is no build, it has no pixels, or a row or image cannot be read.
        UsageError: the build has no such split, FiftyOne has a dataset of this name, or `limit` is
            less than 1.
        EnvironmentFault: the extra `fiftyone` is not installed, or its database does not start.
    """
    try:
        import fiftyone
    except ImportError as error:
        raise missing_package(error, "to_fiftyone", "fiftyone") or error from error
    if limit is not None and limit < 1:
        raise UsageError(f"limit must be at least 1, not {limit}")
    folder = Path(media)
    if isinstance(source, str | os.PathLike):
        build = BuildFolder.open(Path(source))
        wanted = tuple(split for split in SPLITS if build.count("pairs", split))
        for split in splits or ():
            build.check_split(split)
        rows = _build_rows(build, splits or wanted, limit, folder)
    elif splits is not None:
        raise UsageError("splits are those of a build", "Choose the rows that you give instead.")
    else:
        # One row is a list of one.
        several = [source] if isinstance(source, Mapping) else source
        rows = _given_rows(islice(several, limit), folder)
    return _filled(fiftyone, _new_dataset(fiftyone, name), rows)


def _filled(
    library: Any, dataset: fiftyone.Dataset, rows: Iterable[tuple[Mapping[str, Any], list[Path]]]
) -> fiftyone.Dataset:
    """Return a dataset with rows; after a fault it is deleted, so that its name is free."""
    try:
        dataset.add_group_field("group", default=_slice(0))
        # `dynamic` declares `kind` and `category` of the regions, for the filters of the app.
        dataset.add_samples(
            (sample for row, files in rows for sample in _samples(library, row, files)),
            dynamic=True,
        )
    except BaseException:
        with suppress(Exception):
            dataset.delete()
        raise
    return dataset


def _new_dataset(library: Any, name: str) -> fiftyone.Dataset:
    """Return a new dataset; errors as `to_fiftyone`."""
    try:
        # The first use of the database: FiftyOne starts its own MongoDB then.
        exists = library.dataset_exists(name)
    except Exception as error:
        raise EnvironmentFault(
            f"the database of FiftyOne cannot be used: {' '.join(str(error).split())}",
            "Name a MongoDB that runs: export FIFTYONE_DATABASE_URI=mongodb://localhost:27017",
        ) from error
    if exists:
        raise UsageError(
            f"FiftyOne has a dataset '{name}'",
            f"Choose another name, or delete it: fiftyone datasets delete {name}",
        )
    dataset: fiftyone.Dataset = library.Dataset(name)
    return dataset


def _build_rows(
    build: BuildFolder, splits: Sequence[str], limit: int | None, folder: Path
) -> Iterator[tuple[Mapping[str, Any], list[Path]]]:
    """Yield rows of a build with the files of their images, written with the stored bytes."""
    for split in splits:
        shown = "test" if split == BENCHMARK else split  # rows of the benchmark are test rows
        references = islice(checked_rows(build, "pairs", split, ["images"]), limit)
        wanted = {ref["row"] for row in references for ref in row["images"]}
        with open_images(build, shown, wanted, folder / ".images.arrow") as reader:
            written: dict[int, Path] = {}
            for row in islice(checked_rows(build, "pairs", split), limit):
                for ref in row["images"]:
                    if ref["row"] not in written:
                        if not reader.has_pixels(ref["row"]):
                            raise _no_pixels(row)
                        data = reader.row(ref["row"])["image"]["bytes"]
                        path = folder / shown / f"{ref['row']:07d}.{image_suffix(data)}"
                        path.parent.mkdir(parents=True, exist_ok=True)
                        path.write_bytes(data)
                        written[ref["row"]] = path.absolute()
                yield row, [written[ref["row"]] for ref in row["images"]]


def _given_rows(
    rows: Iterable[Mapping[str, Any]], folder: Path
) -> Iterator[tuple[Mapping[str, Any], list[Path]]]:
    """Yield rows with the files of their images, written as PNG, which loses nothing."""
    written: dict[tuple[str, int], Path] = {}
    for row in rows:
        files = []
        for ref in row["images"]:
            if "pixels" not in ref:
                raise _no_pixels(row)
            key = str(row["split"]), ref["row"]
            if key not in written:
                path = folder / key[0] / f"{key[1]:07d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                ref["pixels"].save(path)
                written[key] = path.absolute()
            files.append(written[key])
        yield row, files


def _no_pixels(row: Mapping[str, Any]) -> InputError:
    return InputError(
        f"row {row.get('id')} has no pixels",
        "Load rows with them: mixedparts.load_dataset(name, split=…)",
    )


def _samples(
    library: Any, row: Mapping[str, Any], files: Sequence[Path]
) -> Iterator[fiftyone.Sample]:
    """Yield the sample of each image of a row, all in one group."""
    regions = row_regions(row)
    group = library.Group()
    for number, (ref, file) in enumerate(zip(row["images"], files, strict=True)):
        own = [region for region in regions if region.image == number]
        yield library.Sample(
            filepath=str(file),
            metadata=library.ImageMetadata(width=ref["width"], height=ref["height"]),
            tags=[row["split"]],
            group=group.element(_slice(number)),
            row=row["id"],
            image_id=ref["image_id"],
            objects=_detections(library, [one for one in own if one.kind == OBJECT]),
            parts=_detections(library, [one for one in own if one.kind != OBJECT]),
            **{name: row[name] for name in _TEXTS},
        )


def _detections(library: Any, regions: Sequence[RowRegion]) -> fiftyone.Detections:
    return library.Detections(detections=[_detection(library, region) for region in regions])


def _detection(library: Any, region: RowRegion) -> fiftyone.Detection:
    """Return a region with its mask cut to its box; an empty mask has an empty box and no mask."""
    x, y, width, height = region.box
    left, wide = relative_span(x, width, region.mask.width)
    top, high = relative_span(y, height, region.mask.height)
    cut = region.dense[y : y + height, x : x + width]
    return library.Detection(
        label=region.label,
        bounding_box=[left, top, wide, high],
        mask=cut if cut.size else None,
        kind=region.kind,
        category=region.category,
    )


def relative_span(start: int, length: int, side: int) -> tuple[float, float]:
    """Return start and length of a span of pixels as shares of a side.

    FiftyOne converts start and end to pixels by cutting off decimals, and then resizes the mask to
    the box. `start / side * side` can be a little less than `start`, which would give another
    pixel. Each share is the least one at or above the quotient that gives the same pixels, both
    when decimals are cut off and when they are rounded.

    Args:
        start: first pixel.
        length: number of pixels.
        side: of the image in pixels.

    Returns:
        Two shares from 0 to 1.
    """
    first = start / side
    while int(side * first) < start:
        first = math.nextafter(first, 1)
    share = length / side
    while int(side * (first + share)) < start + length:
        share = math.nextafter(share, 1)
    return first, share


def _slice(number: int) -> str:
    return f"image{number + 1}"
