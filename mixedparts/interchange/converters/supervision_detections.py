"""Rows of `pairs` as `supervision.Detections`, for its annotators, filters and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mixedparts.errors import UsageError, missing_package, near_names
from mixedparts.interchange.converters.regions import RowRegion, class_names, row_regions

if TYPE_CHECKING:
    import supervision


def to_supervision(
    row: Mapping[str, Any],
    images: Sequence[int] | None = None,
    classes: Sequence[str] | None = None,
) -> tuple[supervision.Detections, ...]:
    """Return the objects and parts of a row as detections, image by image.

    Args:
        row: of `pairs`, as `mixedparts.load_dataset` gives it; pixels are not needed.
        images: indices of the images in the row, from 0; None for all of them.
        classes: names whose places are the class ids, as `class_names` returns them; None numbers
            the names of this row alone.

    Returns:
        One `Detections` an image. `mask` is (n, H, W) bool on the stored grid of the image, `xyxy`
        (n, 4) float32 in pixels with the ends outside, `class_id` (n,) int64. `data` has
        `class_name`, `kind` (`object`, or that of a part) and `category` (class of the object that
        a region belongs to), each (n,); `metadata` identifies row and image.

    Raises:
        InputError: the row is not one of `pairs`, or a mask is invalid.
        UsageError: the row has no such image, or a name is not in `classes`.
        EnvironmentFault: the extra `supervision` is not installed.
    """
    try:
        import supervision
    except ImportError as error:
        raise missing_package(error, "to_supervision", "supervision") or error from error
    regions = row_regions(row)
    names = class_names([row]) if classes is None else list(classes)
    ids = {name: number for number, name in enumerate(names)}
    for region in regions:
        if region.label not in ids:
            raise UsageError(
                f"'{region.label}' is not in `classes`.{near_names(region.label, names)}",
                "Number the names of all rows: class_names(rows)",
            )
    wanted = range(len(row["images"])) if images is None else images
    for number in wanted:
        if not 0 <= number < len(row["images"]):
            raise UsageError(f"row {row['id']} has no image {number}, it has {len(row['images'])}")
    return tuple(supervision.Detections(**_fields(row, number, regions, ids)) for number in wanted)


def _fields(
    row: Mapping[str, Any], number: int, regions: Sequence[RowRegion], ids: Mapping[str, int]
) -> dict[str, Any]:
    """Return the arguments of `Detections` for one image of a row."""
    ref = row["images"][number]
    own = [region for region in regions if region.image == number]
    dense = np.zeros((len(own), ref["height"], ref["width"]), bool)
    boxes = np.zeros((len(own), 4), np.float32)
    for at, region in enumerate(own):
        dense[at] = region.dense
        x, y, width, height = region.box
        boxes[at] = x, y, x + width, y + height
    return {
        "xyxy": boxes,
        "mask": dense,
        "class_id": np.array([ids[region.label] for region in own], np.int64),
        "data": {
            "class_name": np.array([region.label for region in own], str),
            "kind": np.array([region.kind for region in own], str),
            "category": np.array([region.category for region in own], str),
        },
        "metadata": {
            "row": row["id"],
            "task": row["task"],
            "image": number,
            "image_id": ref["image_id"],
        },
    }
