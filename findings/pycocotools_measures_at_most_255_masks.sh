#!/usr/bin/env bash
# pycocotools measures the area of at most 255 masks in one call, if NumPy 2 is installed.
#
# Expected: `mask.area` takes a list of any length, as `mask.toBbox`, `mask.iou` and `mask.merge` do,
# and returns one number for each mask.
#
# What happens: under NumPy 1.26 it does. Under NumPy 2 a list of 255 masks works, and one of 256
# raises OverflowError, "Python integer 256 out of bounds for uint8". Before the areas are copied, the
# wrapper makes an array of one uint8 out of the number of masks, and throws it away. NumPy 1 wrapped
# the number around; NumPy 2 refuses numbers that do not fit.
#
# Why it matters: evaluation scripts measure all instances of an image, or of a batch, in one call. A
# crowded image (LVIS and SA-1B have several hundred masks in some) ends such a script, and the error
# names neither the image nor the cause.
#
# Needs: bash, python3.11, pip. Prints versions, behaviour and output; ends with 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for numpy in 1.26.4 2.4.6; do
    python3 -m venv "$work/$numpy"
    "$work/$numpy/bin/pip" install --quiet --disable-pip-version-check \
        'pycocotools==2.0.11' "numpy==$numpy"
    "$work/$numpy/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
from pycocotools import mask

one = mask.encode(np.asfortranarray(np.tri(4, 5, dtype=np.uint8)))


def outcome(function, number):
    try:
        return len(function([one] * number))
    except OverflowError as error:
        return f"OverflowError: {error}"


new = np.lib.NumpyVersion(np.__version__) >= "2.0.0"
print(f"pycocotools {version('pycocotools')}, numpy {np.__version__}")
for number in (255, 256):
    print(f"area of {number} masks: {outcome(mask.area, number)}")
    print(f"boxes of {number} masks: {outcome(mask.toBbox, number)}")
refused = "OverflowError: Python integer 256 out of bounds for uint8"
found = [outcome(function, number) for function in (mask.area, mask.toBbox) for number in (255, 256)]
if found != [255, refused if new else 256, 255, 256]:
    sys.exit("the behaviour has changed")
PYTHON
done
echo "256 masks are refused under NumPy 2 alone"
