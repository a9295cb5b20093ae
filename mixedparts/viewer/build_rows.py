"""Samples of the page from rows of a build."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mixedparts.records import BENCHMARK
from mixedparts.tables.preview import region_mask
from mixedparts.viewer.samples import Answer, Kind, Region, Sample, ShownImage

GROUND_TRUTH = "Ground truth"
ReadImage = Callable[[str, int], bytes | None]
"""Returns the bytes of a row of `images`, by its split and number; None if it has no pixels."""


def sample_of(row: Mapping[str, Any], read: ReadImage, others: tuple[Answer, ...] = ()) -> Sample:
    """Return a row of `pairs` as a sample of the page.

    Args:
        row: with all columns; without `mask` in its regions, they have no masks either.
        read: returns the bytes of an image.
        others: further answers, of models.

    Returns:
        The sample, with the ground truth as its first answer.

    Raises:
        InputError: a mask of the row does not decode.
    """
    objects, parts = row["objects"], row["parts"]
    regions = [_region(row, item, item["category"], Kind.OBJECT) for item in objects]
    regions += [_region(row, item, item["name"], _kind(item["kind"])) for item in parts]
    first = {"object": 0, "part": len(objects)}
    seg = tuple(first[item["kind"]] + item["index"] for item in row["seg"])
    return Sample(
        id=row["id"],
        source=row["source"],
        split=row["split"],
        task=row["task"],
        question=row["question"],
        images=tuple(shown_image(row, image, read) for image in row["images"]),
        answers=(Answer(GROUND_TRUTH, row["answer"], tuple(regions), seg), *others),
    )


def shown_image(row: Mapping[str, Any], image: Mapping[str, Any], read: ReadImage) -> ShownImage:
    """Return an entry of a row's `images`.

    Args:
        row: of `pairs`.
        image: one of its images.
        read: as in `sample_of`.

    Returns:
        The image, whose bytes are read when they are asked for.
    """
    # Rows of the benchmark are copies of rows of test, and show the images of test.
    split, number = images_split(row["split"]), image["row"]
    return ShownImage(
        key=f"{split}/{number}",
        name=f"{row['source']} {image['image_id']}",
        width=image["width"],
        height=image["height"],
        read=lambda: read(split, number),
    )


def images_split(split: str) -> str:
    """Return the split of `images` that has the images of a split of `pairs`."""
    return "test" if split == BENCHMARK else split


def _kind(kind: str) -> Kind:
    try:
        return Kind(kind)
    except ValueError:
        return Kind.PART


def _region(row: Mapping[str, Any], item: Mapping[str, Any], label: str, kind: Kind) -> Region:
    if "mask" not in item:
        return Region(item["image"], label, kind, None, area=item["area"])
    return Region(item["image"], label, kind, region_mask(row, item))
