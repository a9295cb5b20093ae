#!/usr/bin/env bash
# "Nearest exact" of OpenCV 4, OpenCV 5, torch and Pillow are four definitions, and none is exact.
#
# Expected: OpenCV's INTER_NEAREST_EXACT and torch's "nearest-exact" were added to give what Pillow
# and scikit-image give: target pixel i takes the source pixel that its centre lies in,
# floor((i + 1/2) * in / out). Rows of 1 to 63 pixels are small enough for any arithmetic.
#
# What happens: every one of them differs from that formula, in whole numbers, for some of the 3,906
# pairs of different sizes: torch for 49, OpenCV 4 for 587, OpenCV 5 and Pillow for 589. All
# differences are where a centre lies exactly on the border of two pixels, and rounding in fixed
# point, float32 or a running sum of doubles decides. OpenCV changed its results between 4.14 and
# 5.0 for 695 pairs; with 5.0 it follows Pillow in all 3,906.
#
# Why it matters: label maps are resized like this, so one pixel of every border in a label map can
# belong to another class after an upgrade, or when evaluation resizes with another library than
# training. 2 -> 5 pixels is enough. Cached labels made under two versions do not mix.
#
# Needs: bash, python3.11, pip. Prints version, behaviour and output; ends with 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    'torch==2.13.0' 'pillow==12.0.0' 'numpy==2.4.6'
cat > "$work/rows.py" <<'PYTHON'
"""Print the source places of all pairs of sizes as JSON: of OpenCV, or of torch and Pillow."""
import json
import sys

import numpy as np

PAIRS = [(a, b) for a in range(1, 64) for b in range(1, 64) if a != b]


def opencv(row, size):
    import cv2

    twice = np.repeat(row[None], 2, 0)
    return cv2.resize(twice, (size, 2), interpolation=cv2.INTER_NEAREST_EXACT)[0]


def torch_(row, size):
    import torch

    values = torch.from_numpy(row).float()[None, None]
    return torch.nn.functional.interpolate(values, size=size, mode="nearest-exact")[0, 0].numpy()


def pillow(row, size):
    from PIL import Image

    resized = Image.fromarray(row[None]).resize((size, 1), Image.Resampling.NEAREST)
    return np.asarray(resized)[0]


resize = {"opencv": opencv, "torch": torch_, "pillow": pillow}[sys.argv[1]]
places = [resize(np.arange(a, dtype=np.uint8), b).astype(int).tolist() for a, b in PAIRS]
with open(sys.argv[2], "w") as file:
    json.dump(places, file)
PYTHON
for version in 4.14.0.94 5.0.0.93; do
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps \
        --target "$work/$version" "opencv-python-headless==$version"
    PYTHONPATH="$work/$version" "$work/venv/bin/python" "$work/rows.py" opencv "$work/$version.json"
done
cd "$work"
for name in torch pillow; do
    "$work/venv/bin/python" "$work/rows.py" "$name" "$work/$name.json"
done
"$work/venv/bin/python" - <<'PYTHON'
import json
import sys

PAIRS = [(a, b) for a in range(1, 64) for b in range(1, 64) if a != b]
FILES = {"OpenCV 4.14": "4.14.0.94", "OpenCV 5.0": "5.0.0.93", "torch 2.13": "torch",
         "Pillow 12.0": "pillow"}
exact = [[(2 * i + 1) * a // (2 * b) for i in range(b)] for a, b in PAIRS]
rows = {name: json.load(open(f"{file}.json")) for name, file in FILES.items()}
counts, only_ties = {}, True
for name, found in rows.items():
    wrong = [n for n in range(len(PAIRS)) if found[n] != exact[n]]
    counts[name] = len(wrong)
    print(f"{name}: {len(wrong)} of {len(PAIRS)} pairs differ from floor((i + 1/2) * in / out)")
    for n in wrong:
        a, b = PAIRS[n]
        ties = [(2 * i + 1) * a % (2 * b) == 0 for i in range(b)]
        only_ties &= all(t or f == e for t, f, e in zip(ties, found[n], exact[n]))
print(f"only where a centre lies on a border: {only_ties}")
between = sum(x != y for x, y in zip(rows["OpenCV 4.14"], rows["OpenCV 5.0"]))
alike = rows["OpenCV 5.0"] == rows["Pillow 12.0"]
print(f"pairs that changed from OpenCV 4.14 to 5.0: {between}; 5.0 equals Pillow: {alike}")
for pair in ((2, 5), (2, 7)):
    print(f"{pair[0]} -> {pair[1]} pixels:")
    for name, found in {"exact": exact, **rows}.items():
        print(f"  {name:12}", *found[PAIRS.index(pair)])
same = (
    list(counts.values()) == [587, 589, 49, 589] and only_ties and between == 695 and alike
)
print("as described" if same else "CHANGED")
sys.exit(not same)
PYTHON
