"""Write ADE20K-Part-234: object RLE in JSON, and a 16-bit map of parts for each image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mixedparts.sources.manifests import load_manifest
from mixedparts.synthetic.native import (
    Fragment,
    NativeLayout,
    box_of,
    encode,
    png,
    rle_of,
    split_of,
)
from mixedparts.synthetic.painting import jpeg
from mixedparts.synthetic.render import render
from mixedparts.synthetic.vocabulary import object_class, part_id

UNLABELLED = 65535  # value of pixels of no part in a part map
_ROOT = "ADE20KPart234"
FOLDERS = {"train": "training", "val": "validation"}
_FILES = {split: f"{_ROOT}/ade20k_instance_{split}.json" for split in FOLDERS}


class Ade20kLayout(NativeLayout):
    """`ADE20KPart234/` with images, 16-bit part maps and `ade20k_instance_{train,val}.json`."""

    source = "ade20k"
    roots = (_ROOT,)
    files = _FILES
    image_file_globs = (
        f"{_ROOT}/images/*/ADE_*_09??????.jpg",
        f"{_ROOT}/annotations_detectron2_part/*/ADE_*_09??????.png",
        f"{_ROOT}/synthetic_pool/*.jpg",
    )

    def folders(self) -> Sequence[str]:
        """Return the folders to create, relative to the output folder."""
        kinds = ("images", "annotations_detectron2_part")
        return [f"{_ROOT}/{kind}/{folder}" for kind in kinds for folder in FOLDERS.values()]

    def write(self, out: Path, seed: int, index: int) -> Fragment:
        """Draw one image, write it and its part map, and return its object annotations.

        Args:
            out: folder of the sources.
            seed: of the run.
            index: of the image in its source, from 0.

        Returns:
            The records for the annotation file.
        """
        rendered = render(seed, self.source, index)
        # Upstream has no test split; its validation images serve validation and test.
        split = "train" if split_of(index) == "train" else "val"
        folder = FOLDERS[split]
        # Upstream numbers are far below nine million: no image is taken for a real one.
        stem = f"ADE_{split}_{9_000_000 + index:08d}"
        height, width = rendered.labels.shape
        part_map = np.full((height, width), UNLABELLED, dtype=np.uint16)
        annotations: list[dict[str, Any]] = []
        for item in rendered.objects:
            parts = []
            for part in item.parts:
                number = part_id(self.source, item.key, part.native)
                part_map[part.cut.mask] = number
                parts.append(number)
            annotations.append(
                {
                    # A hundred ids an image are more than it has objects: ids stay unique without
                    # a counter that the workers share.
                    "id": index * 100 + 1 + len(annotations),
                    "image_id": stem,
                    "category_id": object_class(self.source, item.key).id,
                    "segmentation": rle_of(item.cut.mask),
                    "bbox": box_of(item.cut.mask),
                    "area": float(item.cut.mask.sum()),
                    "iscrowd": 0,
                    "part_category_id": sorted(parts),
                }
            )
        root = out / _ROOT
        (root / "images" / folder / f"{stem}.jpg").write_bytes(jpeg(rendered.pixels))
        (root / "annotations_detectron2_part" / folder / f"{stem}.png").write_bytes(png(part_map))
        image = {"id": stem, "file_name": f"{stem}.jpg", "width": width, "height": height}
        return Fragment(
            split,
            encode(image),
            tuple(encode(annotation) for annotation in annotations),
            tuple(annotation["category_id"] for annotation in annotations),
        )

    def blocks(self, train: Counter[int], train_images: Counter[int]) -> dict[str, Any]:
        """Return the 44 object categories; the train counts are not part of this format."""
        objects = load_manifest(self.source).objects.values()
        return {
            "categories": [
                {"id": item.id, "name": item.native}
                for item in sorted(objects, key=lambda item: item.id)
            ]
        }
