#!/usr/bin/env bash
# cv2.fillPoly paints fewer pixels of the same polygon since OpenCV 4.11.
#
# Expected: a polygon with corners of whole pixels, drawn without anti-aliasing, is the simplest case
# there is. Its pixels are the same in every version of a library, at least within one major
# version, and the functions of the library that fill a triangle agree about it.
#
# What happens: of all triangles from (0, 0) with corners of whole numbers up to 7, one in six lost
# pixels between 4.10 and 4.11, none won any. fillConvexPoly did not change. Up to 4.10 the two
# functions disagreed about 68 of these 8,755 triangles, since 4.11 about 1,548. drawContours with
# thickness -1 changed along with fillPoly. OpenCV 5.0 paints as 4.11 does.
#
# Why it matters: fillPoly turns the polygons of labelme, CVAT or LabelMe-like JSON into training
# masks. The masks of one file depend on the installed version; thin and small objects lose the most
# (a triangle of 5 pixels becomes one of 4), and checks of area or visibility near a threshold decide
# otherwise. The findContours -> fillPoly round trip stays exact, so the usual test of a
# conversion does not show it.
#
# Needs: bash, python3.11, pip. Prints version, behaviour and output; ends with 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check 'numpy==2.4.6'
cat > "$work/draw.py" <<'PYTHON'
import sys
from itertools import product

import cv2
import numpy as np

masks = []
for side in range(2, 8):
    for x1, y1, x2, y2 in product(range(side + 1), repeat=4):
        corners = np.array([(0, 0), (x1, y1), (x2, y2)], np.int32)
        drawn = np.zeros((3, 8, 8), np.uint8)
        cv2.fillPoly(drawn[0], [corners], 1)
        cv2.fillConvexPoly(drawn[1], corners, 1)
        cv2.drawContours(drawn[2], [corners[:, None]], -1, 1, -1)
        masks.append(drawn)
rng = np.random.Generator(np.random.Philox(0))
lossless = True
for _ in range(200):
    blob = (cv2.blur(rng.random((40, 40)), (5, 5)) > 0.5).astype(np.uint8)
    contours, _ = cv2.findContours(blob, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    back = cv2.fillPoly(np.zeros_like(blob), contours, 1)
    lossless &= bool(np.array_equal(back, blob))
print(f"OpenCV {cv2.__version__}: findContours -> fillPoly gives masks back: {lossless}")
np.savez(sys.argv[1], masks=np.array(masks), lossless=lossless)
PYTHON
for version in 4.10.0.84 4.11.0.86 5.0.0.93; do
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps \
        --target "$work/$version" "opencv-python-headless==$version"
    PYTHONPATH="$work/$version" "$work/venv/bin/python" "$work/draw.py" "$work/$version.npz"
done
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np

old, new, newest = (np.load(f"{v}.npz") for v in ("4.10.0.84", "4.11.0.86", "5.0.0.93"))
lossless = all(bool(each["lossless"]) for each in (old, new, newest))
old, new, newest = (each["masks"].astype(int) for each in (old, new, newest))
changed = (old != new).any((2, 3))
print(f"{len(old)} triangles, painted otherwise by 4.11 than by 4.10:")
counts = []
for place, name in enumerate(("fillPoly", "fillConvexPoly", "drawContours")):
    won = int((new > old)[:, place].any((1, 2)).sum())
    counts.append((int(changed[:, place].sum()), won))
    print(f"  {name}: {counts[-1][0]} triangles, {won} of them with a new pixel")
apart = [int((each[:, 0] != each[:, 1]).any((1, 2)).sum()) for each in (old, new)]
print(f"fillPoly differs from fillConvexPoly: {apart[0]} triangles in 4.10, {apart[1]} in 4.11")
areas = old[:, 0].sum((1, 2))
lost = ((old - new)[:, 0].sum((1, 2)) / np.maximum(areas, 1)).max()
print(f"largest share of a triangle that was lost: {lost:.0%}")
print(f"5.0 paints as 4.11: {np.array_equal(new, newest)}")
first = int(np.flatnonzero(changed[:, 0] & (areas == 5))[0])
print("a triangle of 5 pixels in 4.10, in 4.11, and as fillConvexPoly paints it in both:")
for row in range(3):
    planes = (old[first, 0], new[first, 0], new[first, 1])
    print("   ", "  ".join("".join(".#"[value] for value in plane[row, :3]) for plane in planes))
same = (
    len(old) == 8755
    and counts == [(1480, 0), (0, 0), (1480, 0)]
    and apart == [68, 1548]
    and np.array_equal(new, newest)
    and lossless
)
print("as described" if same else "CHANGED")
sys.exit(not same)
PYTHON
