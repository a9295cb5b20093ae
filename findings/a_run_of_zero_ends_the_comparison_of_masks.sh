#!/usr/bin/env bash
# pycocotools and faster-coco-eval stop comparing two masks where both have a run of length zero.
#
# COCO's run lengths alternate between background and foreground. An encoder that stores runs in 16
# bits writes 70,000 pixels as 65535, 0, 4465: a valid list, which every decoder reads rightly.
#
# Expected: IoU, unions and AP depend on the pixels alone. If a decoder gives the right mask and the
# right area, so do the comparisons.
#
# What happens: where both masks have a zero run at the same pixel, the comparison ends there, and
# what follows counts for neither side. Zero runs before the first foreground make the IoU of a mask
# with itself 0, and a perfect prediction gets AP 0. Worse, zero runs inside the foreground make
# *wrong* masks perfect: all of an image against its left half is 0.5, and both libraries say 1.0.
# The union of two such masks is cut off at that pixel. Both share the C code; hotcoco, which is
# written anew in Rust, gives the numbers of the pixels.
#
# Why it matters: nothing is printed, and the score looks sound, in one direction and in the other.
# A program that takes run lengths from outside has to make them canonical before it compares masks.
#
# Needs: bash, python3.11, pip. Prints version, behaviour and output; ends with 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    'pycocotools==2.0.11' 'faster-coco-eval==1.8.0' 'hotcoco==1.3.0' 'numpy==2.4.6'
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import contextlib
import io
import json
import sys
from importlib.metadata import version

import hotcoco
import numpy as np
from faster_coco_eval import COCO as FasterCOCO
from faster_coco_eval import COCOeval_faster
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

SIZE = HEIGHT, WIDTH = 500, 400


def rle(runs):
    """Write run lengths in COCO's code: 5 bits a character, differences from the fourth run on."""
    text = ""
    for place, run in enumerate(runs):
        rest = run - runs[place - 2] if place > 2 else run
        while True:
            bits, rest = rest & 31, rest >> 5
            last = rest == (-1 if bits & 16 else 0)
            text += chr(48 + bits + (0 if last else 32))
            if last:
                break
    return {"size": list(SIZE), "counts": text}


def in_16_bits(runs):
    """Write a run of over 65,535 as two with a run of zero between them."""
    short = []
    for run in runs:
        while run > 65535:
            short += [65535, 0]
            run -= 65535
        short.append(run)
    return short


PLAIN = {"left half": [0, 100000, 100000], "all": [0, 200000], "right half": [100000, 100000]}
CASES = {  # name: truth, prediction
    "a mask against itself": ("right half", "right half"),
    "all against the left half": ("left half", "all"),
}


def data(truth, prediction):
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": truth,
                  "area": 100000, "bbox": [0, 0, 200, 500], "iscrowd": 0}
    images = [{"id": 1, "width": WIDTH, "height": HEIGHT, "file_name": "a.jpg"}]
    categories = [{"id": 1, "name": "thing"}]
    return (
        {"images": images, "categories": categories, "annotations": [annotation]},
        [{"image_id": 1, "category_id": 1, "segmentation": prediction, "score": 0.9}],
    )


def with_pycocotools(truth, predictions):
    ground = COCO()
    ground.dataset = truth
    ground.createIndex()
    return COCOeval(ground, ground.loadRes(predictions), "segm")


def with_faster(truth, predictions):
    ground = FasterCOCO(truth)
    return COCOeval_faster(ground, ground.loadRes(predictions), "segm")


def with_hotcoco(truth, predictions):
    for name, content in (("truth.json", truth), ("predictions.json", predictions)):
        with open(name, "w") as file:
            json.dump(content, file)
    ground = hotcoco.COCO("truth.json")
    return hotcoco.COCOeval(ground, ground.load_res("predictions.json"), "segm")


def average_precision(evaluator, truth, prediction):
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = evaluator(*data(truth, prediction))
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return round(float(evaluation.stats[0]), 3)


EVALUATORS = {"pycocotools": with_pycocotools, "faster-coco-eval": with_faster,
              "hotcoco": with_hotcoco}
print("AP at IoU .50 to .95; a mask against itself is 1, all against one half (IoU .50) is 0.1")
seen = {}
for case, (truth, prediction) in CASES.items():
    print(case)
    pairs = {
        "canonical": (rle(PLAIN[truth]), rle(PLAIN[prediction])),
        "16 bits": (rle(in_16_bits(PLAIN[truth])), rle(in_16_bits(PLAIN[prediction]))),
    }
    for way in (0, 1):
        first, second = (mask.decode(pairs[kind][way]) for kind in pairs)
        assert np.array_equal(first, second), "the pixels are the same"
    for kind, pair in pairs.items():
        iou = float(mask.iou([pair[1]], [pair[0]], [0])[0, 0])
        union = int(mask.area(mask.merge(list(pair))))
        print(f"  {kind}: pycocotools IoU {iou:.2f}, area of the union {union}")
        seen[case, kind, "iou"], seen[case, kind, "union"] = iou, union
        for name, evaluator in EVALUATORS.items():
            seen[case, kind, name] = value = average_precision(evaluator, *pair)
            print(f"    AP by {name} {version(name)}: {value}")

itself, half = CASES
expected = {
    (itself, "canonical", "iou"): 1.0, (itself, "canonical", "union"): 100000,
    (itself, "canonical", "pycocotools"): 1.0, (itself, "canonical", "faster-coco-eval"): 1.0,
    (itself, "canonical", "hotcoco"): 1.0,
    (itself, "16 bits", "iou"): 0.0, (itself, "16 bits", "union"): 0,
    (itself, "16 bits", "pycocotools"): 0.0, (itself, "16 bits", "faster-coco-eval"): 0.0,
    (itself, "16 bits", "hotcoco"): 1.0,
    (half, "canonical", "iou"): 0.5, (half, "canonical", "union"): 200000,
    (half, "canonical", "pycocotools"): 0.1, (half, "canonical", "faster-coco-eval"): 0.1,
    (half, "canonical", "hotcoco"): 0.1,
    (half, "16 bits", "iou"): 1.0, (half, "16 bits", "union"): 65535,
    (half, "16 bits", "pycocotools"): 1.0, (half, "16 bits", "faster-coco-eval"): 1.0,
    (half, "16 bits", "hotcoco"): 0.1,
}
for key in expected:
    if seen[key] != expected[key]:
        print("differs:", *key, seen[key], "instead of", expected[key])
print("as described" if seen == expected else "CHANGED")
sys.exit(seen != expected)
PYTHON
