"""Build a dataset from your own COCO-style annotations, without writing a reader.

It draws twelve small images of mugs and bowls, writes their objects and parts as COCO JSON, and
describes the JSON in `coco_parts.yaml`. Then it builds, verifies and counts, as you would with your
own files. docs/coco-parts.md explains the YAML.

    python examples/build_from_coco.py --out runs/examples/coco
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

import mixedparts
from mixedparts.exit_codes import run_command

WIDTH, HEIGHT = 96, 72
SPLITS = {"train": 8, "test": 4}
CATEGORIES = ["mug", "bowl", "mug_body", "mug_handle", "bowl_body", "bowl_rim"]
# Boxes (x, y, width, height) in pixels of the image: the object first, then its parts.
SHAPES = {
    "mug": {"mug": (20, 16, 50, 44), "mug_body": (20, 16, 36, 44), "mug_handle": (56, 24, 14, 22)},
    "bowl": {"bowl": (14, 24, 66, 36), "bowl_body": (20, 32, 54, 28), "bowl_rim": (14, 24, 66, 8)},
}
DESCRIPTION = """\
title: Kitchen parts
version: "1"
homepage: https://example.org/kitchen
licence: CC0
image_licence: CC0
citation: none, drawn by examples/build_from_coco.py
splits:
  train: {annotations: train.json, images: images/train}
  test: {annotations: test.json, images: images/test}
link: {key: object_id}        # a part's annotation has the id of its object under this key
objects:
  mug: {parts: {mug_body: body, mug_handle: handle}}
  bowl: {parts: {bowl_body: body, bowl_rim: rim}}
groups:
  tableware: {why: hold what is drunk or eaten, classes: [mug, bowl]}
alone: {}
"""


def write_sources(root: Path) -> None:
    """Write images, one COCO JSON a split, and the YAML. Replace this by your own files."""
    folder = root / "coco_parts"
    for split, count in SPLITS.items():
        (folder / "images" / split).mkdir(parents=True, exist_ok=True)
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number in range(count):
            name, kind = f"{split}-{number}.png", ("mug", "bowl")[number % 2]
            image = Image.new("RGB", (WIDTH, HEIGHT), (30, 30, 30))
            images.append({"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT})
            owner = len(annotations) + 1
            for category, (x, y, w, h) in SHAPES[kind].items():
                left, top = x + number, y - number  # every image differs a little
                ImageDraw.Draw(image).rectangle((left, top, left + w, top + h), (90, 90, x * 2))
                annotation = {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": CATEGORIES.index(category) + 1,
                    "segmentation": [
                        [left, top, left + w, top, left + w, top + h, left, top + h],
                    ],
                }
                if category != kind:
                    annotation["object_id"] = owner
                annotations.append(annotation)
            image.save(folder / "images" / split / name)
        categories = [{"id": place, "name": name} for place, name in enumerate(CATEGORIES, 1)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (folder / f"{split}.json").write_text(json.dumps(content))
    (folder / "coco_parts.yaml").write_text(DESCRIPTION)


def main() -> int:
    """Write, build, verify, count."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/examples/coco"))
    out = parser.parse_args().out

    write_sources(out / "sources")
    build = mixedparts.build(
        ["coco_parts"], out / "build", root=out / "sources", overwrite=True, quiet=True
    )
    found = mixedparts.verify(build, level="deep", quiet=True)
    print(f"{build}: {found.total} problems")

    pairs = mixedparts.load_dataset(build, split="train")
    for task, rows in sorted(Counter(pairs["task"]).items()):
        print(f"train, {task}: {rows} rows")
    row = next(row for row in pairs if row["task"] == "unique_parts")
    print(row["question"])
    print(row["answer"])
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
