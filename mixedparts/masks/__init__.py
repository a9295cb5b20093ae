"""Masks as COCO RLE, and all their operations; the only package that calls pycocotools.

Masks travel as COCO compressed RLE (column-major runs, first run is background). Dense arrays
are (H, W) uint8 with values 0 and 1 and live inside one function. Areas are pixel counts, boxes
are (x, y, w, h) in pixels. Masks and areas equal those of pycocotools bit for bit: it does the set
operations, and what is computed here (checks, areas of many strings, label maps) follows its code.

Every mask is canonical: no run has length zero, except a first background run before foreground at
the first pixel, and no number of the string has more characters than it needs. Equal masks are then
equal bytes. Encoders with 16-bit runs write other forms, and pycocotools 2.0.11 reads them wrong:
its union of two masks that have a run of zero at the same pixel is empty, their IoU is 0.
"""

from mixedparts.masks.constructors import (
    from_counts,
    from_dense,
    from_labels,
    from_polygon_lists,
    from_polygons,
    from_sized_strings,
    from_string,
    from_strings,
)
from mixedparts.masks.operations import (
    area,
    bbox,
    decode,
    intersection,
    iou,
    is_empty,
    measure,
    runs,
    union,
    unions,
)
from mixedparts.masks.rle import InvalidMask, Rle

__all__ = [
    "InvalidMask",
    "Rle",
    "area",
    "bbox",
    "decode",
    "from_counts",
    "from_dense",
    "from_labels",
    "from_polygon_lists",
    "from_polygons",
    "from_sized_strings",
    "from_string",
    "from_strings",
    "intersection",
    "iou",
    "is_empty",
    "measure",
    "runs",
    "union",
    "unions",
]
