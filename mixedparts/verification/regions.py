"""Masks with their areas and boxes: decoded, and measured again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mixedparts import masks
from mixedparts.verification.findings import Rule


def region_problems(
    regions: Sequence[Mapping[str, Any]], height: int, width: int
) -> Iterator[tuple[int, Rule, str]]:
    """Yield (position, rule, sentence) for what is wrong with regions of one image."""
    fitting = []
    for place, region in enumerate(regions):
        if region["mask"]["size"] == [height, width]:
            fitting.append(place)
        else:
            size = region["mask"]["size"]
            yield place, Rule.MASK, f"mask of size {size}, image {[height, width]}"
    found = masks.from_strings([regions[p]["mask"]["counts"] for p in fitting], height, width)
    for place, mask in zip(fitting, found, strict=True):
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
