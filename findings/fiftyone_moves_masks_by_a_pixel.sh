#!/usr/bin/env bash
# FiftyOne does not give back the mask that it was given: some are moved or resized by a pixel.
#
# Expected: `Detection.from_mask(mask)` keeps a mask and its box, and `to_segmentation` draws it where
# it was, so that the result equals the mask, at every place of the image. The same for masks that
# FiftyOne reads from COCO RLE.
#
# What happens: a square of 10 x 10 pixels is set to each of the 91 places on the diagonal of an image
# of 100 x 100. At 7 of them, from_mask as well as the COCO reader give back another mask: of 81 or 121
# pixels. A box is stored as shares of the image, 29 of 100 pixels as 0.29. To draw it, FiftyOne (eta)
# computes int(100 * 0.29), which is 28 because 100 * 0.29 is 28.999999999999996. The corner moves, the
# box is a pixel larger or smaller, and the mask is resized to it with interpolation. A share that is
# one or two steps of a float larger gives the mask back at all 91 places.
#
# Why it matters: nothing fails and nothing is printed. One pixel along two sides is a fifth of a small
# part's area. Masks that went through FiftyOne (segmentations, IoU, exports) are compared as other
# masks, and which of them depends on the place and on the size of the image.
#
# Needs: bash, python3.11, pip. Prints version, behaviour and output; ends with 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    'fiftyone==1.22.1' 'voxel51-eta==0.17.0' 'pycocotools==2.0.11'
cd "$work"
# Its settings are written to the home folder; no dataset is made, so no database starts.
HOME=$work FIFTYONE_DO_NOT_TRACK=true "$work/venv/bin/python" -W ignore - <<'PYTHON' 2>/dev/null
import math
import sys
from importlib.metadata import version

import fiftyone
import fiftyone.utils.coco
import numpy as np
from pycocotools import mask as coco_mask

SIDE, SQUARE = 100, 10


def square(place):
    dense = np.zeros((SIDE, SIDE), bool)
    dense[place : place + SQUARE, place : place + SQUARE] = True
    return dense


def from_mask(place):
    return fiftyone.Detection.from_mask(square(place), label="part")


def from_coco(place):
    rle = coco_mask.encode(np.asfortranarray(square(place).astype(np.uint8)))
    found = fiftyone.utils.coco.COCOObject(
        id=1, image_id=1, category_id=1, area=SQUARE**2, iscrowd=0,
        bbox=[place, place, SQUARE, SQUARE], segmentation=rle | {"counts": rle["counts"].decode()},
    )
    return found.to_detection((SIDE, SIDE), classes_map={1: "part"}, load_segmentation=True)


def from_larger_shares(place):
    start, length = place / SIDE, SQUARE / SIDE
    while int(SIDE * start) < place:
        start = math.nextafter(start, 1)
    while int(SIDE * (start + length)) < place + SQUARE:
        length = math.nextafter(length, 1)
    cut = np.ones((SQUARE, SQUARE), bool)
    return fiftyone.Detection(label="part", bounding_box=[start, start, length, length], mask=cut)


print(f"fiftyone {version('fiftyone')}, voxel51-eta {version('voxel51-eta')}")
seen = {}
for make in (from_mask, from_coco, from_larger_shares):
    changed = {}
    for place in range(SIDE - SQUARE + 1):
        drawn = make(place).to_segmentation(frame_size=(SIDE, SIDE)).mask > 0
        if (drawn != square(place)).any():
            changed[place] = int(drawn.sum())
    seen[make.__name__] = changed
    print(f"{make.__name__}: {len(changed)} of {place + 1} masks changed; place: pixels {changed}")
changed = seen["from_mask"]
as_described = (
    len(changed) == 7 and set(changed.values()) == {81, 121} and 29 in changed
    and seen["from_coco"] == changed and seen["from_larger_shares"] == {}
)
print("as described" if as_described else "CHANGED")
sys.exit(not as_described)
PYTHON
