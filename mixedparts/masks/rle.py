"""The value that a mask travels as: COCO run-length encoding, compressed to a string."""

from __future__ import annotations

from typing import Any, NamedTuple


class InvalidMask(ValueError):
    """Run lengths that do not describe a mask of the given size."""


class Rle(NamedTuple):
    """A binary mask of `height` x `width` pixels as a COCO compressed run-length string.

    Make one with the functions of `mixedparts.masks`: they check the runs and bring them into the
    canonical form that `union`, `iou` and `bbox` need. This class checks nothing.
    """

    height: int
    width: int
    counts: bytes

    def to_coco(self) -> dict[str, Any]:
        """Return the dict that pycocotools takes: `size` (h, w) and `counts` as bytes."""
        return {"size": [self.height, self.width], "counts": self.counts}


def from_coco(rle: dict[str, Any]) -> Rle:
    """Return the dict that pycocotools makes as a mask."""
    height, width = rle["size"]
    return Rle(int(height), int(width), bytes(rle["counts"]))
