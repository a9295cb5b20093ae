#!/usr/bin/env bash
# Masks that supervision or datumaro write as COCO give a perfect prediction an AP between -1 and 1.
#
# Expected: a converter that is given masks writes COCO whose masks are these masks. A prediction that
# equals the masks pixel by pixel then gets AP 1 from pycocotools, with every converter.
#
# What happens: ten squares of 10 pixels and ten rings, of two categories.
# - supervision writes a mask without holes as a polygon through the centres of its outermost pixels.
#   The evaluator rasterises that a row and a column smaller: 0.81 of the square, AP 0.7.
# - supervision writes a mask with a hole as RLE with `iscrowd` 1, and datumaro does so with *every*
#   mask. The evaluator reads that as a crowd, which is no target: it can be neither found nor
#   missed. AP is -1, and a prediction that leaves out all rings scores as a perfect one does.
# - datumaro's `segmentation_mode="polygons"` avoids the flag, shrinks the squares too, and fills the
#   holes: AP 0.2 for rings.
#
# Why it matters: `iscrowd` is a statement about the object ("a group, do not score"), and both use it
# as a statement about the encoding ("this is RLE"). Nothing fails and nothing is printed; a benchmark
# that was converted this way measures another thing, and numbers of two converters do not compare.
#
# Needs: bash, python3.11, pip. Prints version, behaviour and output; ends with 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    'pycocotools==2.0.11' 'supervision==0.31.2' 'datumaro==1.13.12' \
    'opencv-python-headless==4.14.0.94'
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PYTHON' 2>/dev/null
import contextlib
import io
import json
import sys
from importlib.metadata import version
from pathlib import Path

import datumaro
import numpy as np
import supervision
from PIL import Image
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

HEIGHT, WIDTH = 100, 420
NAMES = ["square", "ring"]
rows, columns = np.mgrid[:HEIGHT, :WIDTH]
MASKS = []  # (label, mask)
for place in range(10):
    left = 10 + 40 * place
    square = (rows >= 10) & (rows < 20) & (columns >= left) & (columns < left + 10)
    away = np.hypot(rows - 65, columns - left - 14)
    MASKS += [(0, square), (1, (away < 15) & (away > 9))]
Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save("a.png")


def rle(dense):
    value = mask.encode(np.asfortranarray(dense.astype(np.uint8)))
    return {"size": value["size"], "counts": value["counts"].decode()}


def faithful(path):
    """COCO as the evaluator's authors mean it: RLE, and no object is a crowd."""
    annotations = [
        {"id": n + 1, "image_id": 1, "category_id": label + 1, "iscrowd": 0,
         "segmentation": rle(dense), "area": int(dense.sum()),
         "bbox": mask.toBbox(rle(dense)).tolist()}
        for n, (label, dense) in enumerate(MASKS)
    ]
    images = [{"id": 1, "width": WIDTH, "height": HEIGHT, "file_name": "a.png"}]
    categories = [{"id": n + 1, "name": name} for n, name in enumerate(NAMES)]
    content = {"images": images, "categories": categories, "annotations": annotations}
    path.write_text(json.dumps(content))


def with_supervision(path):
    dense = np.stack([each for _, each in MASKS])
    detections = supervision.Detections(
        xyxy=supervision.mask_to_xyxy(dense), mask=dense,
        class_id=np.array([label for label, _ in MASKS]),
    )
    dataset = supervision.DetectionDataset(NAMES, ["a.png"], {"a.png": detections})
    dataset.as_coco(annotations_path=str(path))


def with_datumaro(path, **options):
    annotations = [
        datumaro.Mask(dense, label=label, id=n + 1, group=n + 1)
        for n, (label, dense) in enumerate(MASKS)
    ]
    image = datumaro.components.media.Image.from_file("a.png")
    item = datumaro.DatasetItem("a", subset="val", media=image, annotations=annotations)
    folder = path.with_suffix("")
    dataset = datumaro.Dataset.from_iterable([item], categories=NAMES)
    dataset.export(str(folder), "coco_instances", **options)
    (written,) = folder.rglob("*.json")
    written.rename(path)


def scores(path, labels):
    """AP of squares and of rings for a prediction that equals the masks of some labels."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        number = {each["name"]: each["id"] for each in truth.dataset["categories"]}
        image = truth.dataset["images"][0]["id"]
        predictions = [
            {"image_id": image, "category_id": number[NAMES[label]], "score": 0.9,
             "segmentation": rle(dense)}
            for label, dense in MASKS if label in labels
        ]
        evaluation = COCOeval(truth, truth.loadRes(predictions), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        precision = evaluation.eval["precision"][:, :, :, 0, 2]
        crowds = [each["iscrowd"] for each in truth.dataset["annotations"]]
    values = []
    for label in range(2):
        valid = precision[:, :, sorted(number.values()).index(number[NAMES[label]])]
        values.append(round(float(valid.mean()), 2) if (valid > -1).any() else -1.0)
    return values, f"{sum(crowds)} of {len(crowds)}"


print(*(f"{name} {version(name)}" for name in ("pycocotools", "supervision", "datumaro")), sep=", ")
WRITERS = {
    "a faithful file": faithful,
    "supervision": with_supervision,
    "datumaro": with_datumaro,
    "datumaro, polygons": lambda path: with_datumaro(path, segmentation_mode="polygons"),
}
seen = {}
for name, write in WRITERS.items():
    path = Path(f"{len(seen)}.json")
    write(path)
    perfect, crowds = scores(path, (0, 1))
    without, _ = scores(path, (0,))
    seen[name] = perfect, without, crowds
    print(f"{name}: AP of a perfect prediction: squares {perfect[0]}, rings {perfect[1]}; "
          f"without any ring: {without[0]}, {without[1]}; crowds: {crowds}")
expected = {
    "a faithful file": ([1.0, 1.0], [1.0, 0.0], "0 of 20"),
    "supervision": ([0.7, -1.0], [0.7, -1.0], "10 of 20"),
    "datumaro": ([-1.0, -1.0], [-1.0, -1.0], "20 of 20"),
    "datumaro, polygons": ([0.7, 0.2], [0.7, 0.0], "0 of 20"),
}
print("as described" if seen == expected else f"CHANGED: expected {expected}")
sys.exit(seen != expected)
PYTHON
