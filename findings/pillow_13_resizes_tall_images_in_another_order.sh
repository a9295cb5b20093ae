#!/usr/bin/env bash
# Image.resize of Pillow 13 gives other pixels for some tall images: it resizes their rows first.
#
# Expected: Pillow's resampling has been the reference of the field for ten years. Models are trained
# and evaluated on it, and other libraries copy its bytes. A version that is faster gives the same
# pixels, or the release notes say which ones change.
#
# What happens: up to 12.x the columns were always resized first. 13.0 takes the rows first where
# the height shrinks by more than twice as much as the width does (or where the width grows). The
# result between the two passes is rounded and clipped to 8 bits, so the order shows: by 1 level
# with BILINEAR, by over 15 with BICUBIC and LANCZOS, whose overshoot is clipped. A 3:4 portrait is
# resized as before; a 2:3 one, such as 427 x 640 photos of COCO, is not. The release notes do not
# mention it. Two calls, columns first and then rows, give the same bytes in all versions, as fast.
#
# Why it matters: encoders with frozen weights get other inputs after an upgrade, features that were
# cached before do not match those computed after, and two machines disagree about a test set, but
# only about its tall images, which a test with one landscape image never shows.
#
# Needs: bash, python3.11, pip. Prints version, behaviour and output; ends with 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check 'numpy==2.4.6'
cat > "$work/resize.py" <<'PYTHON'
import sys

import numpy as np
from PIL import Image

noise = np.random.Generator(np.random.Philox(0)).integers(0, 2, (640, 640, 3)).astype(np.uint8) * 255
results = {}
for width, height in ((640, 480), (480, 640), (427, 640), (300, 640)):
    image = Image.fromarray(noise[:height, :width])
    for method in (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS):
        name = f"{width} x {height} to 224 x 224, {method.name}"
        results[f"{name}|one"] = np.asarray(image.resize((224, 224), method))
        narrowed = image.resize((224, height), method)
        results[f"{name}|two"] = np.asarray(narrowed.resize((224, 224), method))
np.savez(sys.argv[1], **results)
PYTHON
for version in 12.3.0 13.0.0; do
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps \
        --target "$work/$version" "pillow==$version"
    PYTHONPATH="$work/$version" "$work/venv/bin/python" "$work/resize.py" "$work/$version.npz"
done
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np

old, new = (np.load(f"{version}.npz") for version in ("12.3.0", "13.0.0"))
print("largest difference between Pillow 12.3.0 and 13.0.0, in levels of 255, and share of values:")
changed, stable = {}, True
for key in old.files:
    name, calls = key.split("|")
    apart = np.abs(old[key].astype(int) - new[key])
    if calls == "one":
        changed[name] = int(apart.max())
        print(f"  {name}: {apart.max()}, {(apart > 0).mean():.0%}")
    else:
        stable &= not apart.any() and np.array_equal(old[key], old[f"{name}|one"])
print(f"two calls, columns first, give what 12.3.0 gives in one, in both versions: {stable}")
same = stable and all(
    (value == 0 if name.startswith(("640", "480")) else value == 1 if "BILINEAR" in name
     else value > 15)
    for name, value in changed.items()
)
print("as described" if same else "CHANGED")
sys.exit(not same)
PYTHON
