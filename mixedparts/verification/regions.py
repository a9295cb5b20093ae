"""Checks of masks with their areas and boxes: each mask is decoded and measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mixedparts import masks
from mixedparts.verification.findings import Rule


def region_problems(
    regions: Sequence[Mapping[str, Any]], height: int, width: int
) -> Iterator[tuple[int, Rule, str]]:
    """Yield the problems of the regions of one image.

    Args:
        regions: regions with `mask`, `bbox` and `area`.
        height: height of the image in pixels.
        width: width of the image in pixels.

    Yields:
        (position in `regions`, rule, sentence) for each problem.
    """
    # Masks of another size are reported and left out: all others are decoded in one call.
    fitting = []
    for place, region in enumerate(regions):
        if region["mask"]["size"] == [height, width]:
            fitting.append(place)
        else:
            size = region["mask"]["size"]
            yield place, Rule.MASK, f"mask of size {size}, image {[height, width]}"
    decoded = masks.from_strings([regions[p]["mask"]["counts"] for p in fitting], height, width)
    for place, mask in zip(fitting, decoded, strict=True):
        region = regions[place]
        if isinstance(mask, masks.InvalidMask):
            yield place, Rule.MASK, f"mask does not decode: {mask}"
            continue
        rle, area = mask
        box = list(masks.bbox(rle))
        if area != region["area"]:
            yield place, Rule.AREA, f"area {region['area']}, mask has {area} pixels"
        if box != region["bbox"]:
            yield place, Rule.BOX, f"box {region['bbox']}, mask has {box}"
        if not area:
            yield place, Rule.MASK, "mask has no pixel"
