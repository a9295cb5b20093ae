"""Write a synthetic annotation file with the shape of PACO-LVIS v1, and its pictures.

Real category ids, names and per-class frequencies, random masks: objects as polygons, parts as
compressed RLE with `obj_ann_id`. The documented means of the train file are kept: 4.7 objects and
8.6 parts an image (217,117 and 395,071 in 45,790 images). About 1.7 classes an image and a median
object of about 1.3 % of its image follow the public per-image statistics. Pictures are blurred
noise with grain, 640 x 480 JPEGs of the usual 30 to 60 kB. The same arguments give the same bytes.

Example:
    python -m benchmarks.paco_shaped --out /tmp/paco3000 --images 3000
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

from mixedparts.sources.manifests import Manifest, ObjectClass, load_manifest

WIDTH, HEIGHT = 640, 480
ANNOTATIONS = "paco/annotations/paco_lvis_v1_train.json"
PICTURES = "coco/train2017"
_IMAGE_COUNT_CAP = 1800  # upstream annotated about this many images of each frequent class
_CLASS_STOP = 0.58  # classes an image: about 1 / 0.58
_INSTANCE_STOP = 0.36  # instances of a class in an image: about 1 / 0.36
_PARTS_MEAN = 2.0  # before classes with few or no parts take their toll


@dataclass
class _File:
    """Collects the annotations of all images under consecutive ids."""

    rng: np.random.Generator
    annotations: list[dict[str, Any]] = field(default_factory=list)

    def add(self, image_id: int, category: int, segmentation: Any, rle: Any, owner: int = 0) -> int:
        """Append one annotation; `owner` is the object's id for parts. Returns the new id."""
        number = len(self.annotations) + 1
        self.annotations.append(
            {
                "id": number,
                "image_id": image_id,
                "category_id": category,
                "bbox": [float(value) for value in coco_mask.toBbox(rle)],
                "area": float(coco_mask.area(rle)),
                "segmentation": segmentation,
                "obj_ann_id": owner or number,
                "attribute_ids": [],
                "dom_color_ids": [],
                "unknown_color": 0,
                "unknown_pattern_marking": 0,
                "unknown_material": 0,
                "unknown_transparency": 0,
            }
        )
        return number


def categories(manifest: Manifest) -> list[dict[str, Any]]:
    """Return the file's `categories`: objects and parts together, as upstream."""
    block = []
    for item in manifest.objects.values():
        block.append(_category(item.id, item.key, "OBJECT", item.synset))
        for part in item.parts:
            block.append(_category(part.id, f"{item.key}:{part.native}", "PART", part.native))
    return sorted(block, key=lambda entry: int(entry["id"]))


def _category(number: int, name: str, kind: str, synset: str) -> dict[str, Any]:
    return {"id": number, "name": name, "supercategory": kind, "synset": synset}


def _blob(
    rng: np.random.Generator, center: NDArray[np.float64], radius: float, points: int
) -> list[float]:
    """Return a closed outline x0, y0, x1, y1, … around `center`, cut at the image's border.

    Args:
        center: (x, y) in pixels.
        radius: mean distance of the outline, in pixels.
        points: number of corners.
    """
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    waves = np.arange(1, 6)[:, None]
    phase = rng.uniform(0, 2 * np.pi, (5, 1))
    height = rng.uniform(0, 0.5, (5, 1)) / waves
    distance = radius * (1 + (height * np.sin(waves * angle + phase)).sum(0)).clip(0.2)
    stretch = rng.uniform(0.7, 1.4)
    x = (center[0] + distance * stretch * np.cos(angle)).clip(0, WIDTH)
    y = (center[1] + distance / stretch * np.sin(angle)).clip(0, HEIGHT)
    return [float(v) for v in np.stack([x, y], 1).round(2).ravel()]


def _rle(polygons: list[list[float]]) -> Any:
    return coco_mask.merge(coco_mask.frPyObjects(polygons, HEIGHT, WIDTH))


def _add_object(file: _File, image_id: int, item: ObjectClass) -> None:
    rng = file.rng
    share = float(np.exp(rng.normal(np.log(0.009), 1.7)).clip(0.0003, 0.6))
    radius = float(np.sqrt(share * WIDTH * HEIGHT / np.pi))
    center = rng.uniform((0.1 * WIDTH, 0.1 * HEIGHT), (0.9 * WIDTH, 0.9 * HEIGHT))
    pieces = int(rng.choice([1, 2, 3], p=[0.72, 0.21, 0.07]))  # an object is cut by what covers it
    polygons = []
    for piece in range(pieces):
        offset = rng.normal(0, radius * 0.6, 2) if piece else 0.0
        place = (center + offset).clip(1, (WIDTH - 1, HEIGHT - 1))
        polygons.append(_blob(rng, place, radius / pieces**0.5, int(rng.integers(25, 121))))
    owner = file.add(image_id, item.id, polygons, _rle(polygons))
    count = min(int(rng.poisson(_PARTS_MEAN)), len(item.parts))
    for index in rng.permutation(len(item.parts))[:count]:
        place = (center + rng.normal(0, radius * 0.4, 2)).clip(1, (WIDTH - 1, HEIGHT - 1))
        size = max(2.0, radius * rng.uniform(0.15, 0.6))
        rle = _rle([_blob(rng, place, size, int(rng.integers(25, 81)))])
        coded = {"size": [HEIGHT, WIDTH], "counts": rle["counts"].decode("ascii")}
        file.add(image_id, item.parts[int(index)].id, coded, rle, owner)


def _picture(rng: np.random.Generator) -> Image.Image:
    coarse = rng.integers(0, 256, (HEIGHT // 16, WIDTH // 16, 3), np.uint8)
    smooth = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    grain = rng.integers(0, int(rng.integers(8, 24)), (HEIGHT, WIDTH, 1), np.uint8)
    return Image.fromarray((np.asarray(smooth) // 8 * 7 + grain).astype(np.uint8))


def write(out: Path, images: int, seed: int = 0) -> Path:
    """Write the annotation file and its pictures; return the path of the file."""
    manifest = load_manifest("paco")
    classes = list(manifest.objects.values())
    weight = np.array([min(item.instances, _IMAGE_COUNT_CAP) for item in classes], np.float64)
    weight /= weight.sum()
    rng = np.random.Generator(np.random.Philox(key=seed))
    file = _File(rng)
    entries = []
    (out / PICTURES).mkdir(parents=True, exist_ok=True)
    for index in range(images):
        image_id = 1000 + 7 * index
        name = f"{image_id:012d}.jpg"
        entries.append(
            {
                "id": image_id,
                "file_name": f"train2017/{name}",
                "coco_url": f"http://images.cocodataset.org/train2017/{name}",
                "width": WIDTH,
                "height": HEIGHT,
                "license": 1,
                "neg_category_ids": [],
                "not_exhaustive_category_ids": [],
            }
        )
        present = min(int(rng.geometric(_CLASS_STOP)), 8)
        for choice in rng.choice(len(classes), present, replace=False, p=weight):
            for _ in range(min(int(rng.geometric(_INSTANCE_STOP)), 40)):
                _add_object(file, image_id, classes[int(choice)])
        _picture(rng).save(out / PICTURES / name, quality=70)
    target = out / ANNOTATIONS
    target.parent.mkdir(parents=True, exist_ok=True)
    body = {
        "images": entries,
        "annotations": file.annotations,
        "categories": categories(manifest),
    }
    target.write_text(json.dumps(body))
    return target


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.paco_shaped",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="folder that becomes --root")
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(argv)
    print(write(given.out, given.images, given.seed))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
