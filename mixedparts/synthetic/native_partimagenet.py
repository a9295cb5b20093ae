"""Write PartImageNet (Seg): polygons of parts, label maps, the synset in the file name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mixedparts.sources.manifests import load_manifest
from mixedparts.synthetic.native import Fragment, NativeLayout, box_of, encode, png, split_of
from mixedparts.synthetic.painting import jpeg
from mixedparts.synthetic.render import render
from mixedparts.synthetic.vocabulary import object_class, part_id

PART_BACKGROUND = 40  # value of pixels of no part in a part map
WHOLE_BACKGROUND = 158  # value of pixels of no object in an object map
_SPLITS = ("train", "val", "test")
_FILES = {split: f"PartImageNet/annotations/{split}/{split}.json" for split in _SPLITS}


class PartImageNetLayout(NativeLayout):
    """`PartImageNet/images/{split}/*.JPEG` and `annotations/{split}`, `{split}_whole`."""

    source = "partimagenet"
    roots = ("PartImageNet",)
    files = _FILES
    image_file_globs = (
        "PartImageNet/images/*/n????????_9??????.JPEG",
        "PartImageNet/annotations/*/n????????_9??????.png",
        "PartImageNet/annotations/*/n????????_9??????.json",
        "PartImageNet/synthetic_pool/*.jpg",
    )

    def folders(self) -> Sequence[str]:
        """Return the folders to create, relative to the output folder."""
        kinds = ("images/{}", "annotations/{}", "annotations/{}_whole")
        return [f"PartImageNet/{kind.format(split)}" for kind in kinds for split in _SPLITS]

    def write(self, out: Path, seed: int, index: int) -> Fragment:
        """Draw one image, write it with its label maps and size file, and return its annotations.

        Args:
            out: folder of the sources.
            seed: of the run.
            index: of the image in its source, from 0.

        Returns:
            The records for the annotation file.
        """
        rendered = render(seed, self.source, index)
        split = split_of(index)
        # The file name gives the class, so an image of this source shows one class only.
        synset = rendered.objects[0].key
        stem = f"{synset}_{9_000_000 + index}"
        height, width = rendered.labels.shape
        part_map = np.full((height, width), PART_BACKGROUND, dtype=np.uint8)
        whole_map = np.full((height, width), WHOLE_BACKGROUND, dtype=np.uint8)
        annotations: list[dict[str, Any]] = []
        for item in rendered.objects:
            whole_map[item.cut.mask] = object_class(self.source, synset).id
            for part in item.parts:
                category = part_id(self.source, synset, part.native)
                part_map[part.cut.mask] = category
                annotations.append(
                    {
                        "id": index * 100 + 1 + len(annotations),
                        "image_id": index,
                        "category_id": category,
                        "bbox": box_of(part.cut.mask),
                        "segmentation": part.cut.polygons,
                        "area": float(part.cut.mask.sum()),
                        "iscrowd": 0,
                    }
                )
        root = out / "PartImageNet"
        (root / "images" / split / f"{stem}.JPEG").write_bytes(jpeg(rendered.pixels))
        (root / "annotations" / split / f"{stem}.png").write_bytes(png(part_map))
        (root / "annotations" / f"{split}_whole" / f"{stem}.png").write_bytes(png(whole_map))
        size = encode({"imgHeight": height, "imgWidth": width})
        (root / "annotations" / split / f"{stem}.json").write_bytes(size)
        image = {"id": index, "file_name": f"{stem}.JPEG", "width": width, "height": height}
        return Fragment(
            split,
            encode(image),
            tuple(encode(annotation) for annotation in annotations),
            tuple(annotation["category_id"] for annotation in annotations),
        )

    def blocks(self, train: Counter[int], train_images: Counter[int]) -> dict[str, Any]:
        """Return the 40 part categories."""
        categories = {}
        for item in load_manifest(self.source).objects.values():
            for part in item.parts:
                name = f"{item.superclass} {part.native}"
                categories[part.id] = {
                    "id": part.id,
                    "name": name,
                    "supercategory": item.superclass,
                }
        return {"categories": [categories[number] for number in sorted(categories)]}
