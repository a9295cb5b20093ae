"""ADE20K-Part-234 in numbers: objects as RLE, and a 16-bit map of parts for each image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from mixedparts.synthetic.native import Fragment
from mixedparts.synthetic.native_ade20k import FOLDERS, UNLABELLED, Ade20kLayout
from mixedparts.synthetic.scale.label_maps import corners_of, label_png
from mixedparts.synthetic.scale.layouts import Block, Drawn, ScaleLayout, fragment
from mixedparts.synthetic.scale.outlines import outlines

# The most frequent classes of ADE20K that have parts; the others follow in the manifest's order.
_FREQUENT = (
    "person",
    "chair",
    "lamp",
    "light",
    "car",
    "cabinet",
    "table",
    "door",
    "glass",
    "shelf",
)


class Ade20kScale(ScaleLayout):
    """ADE20K-Part-234 with few frequent and many rare classes; their numbers are assumptions."""

    native = Ade20kLayout()
    root = "ADE20KPart234"
    sizes = (
        ((683, 512), 0.55), ((512, 683), 0.17), ((768, 512), 0.14), ((512, 512), 0.08),
        ((910, 512), 0.06),
    )  # fmt: skip
    area = (0.02, 1.5)
    most_images = 0.3

    def weights(self) -> NDArray[np.float64]:
        """Return 1, 1/2, 1/3 … from the most frequent class to the rarest."""
        names = [item.key for item in self.classes]
        order = [*_FREQUENT, *(name for name in names if name not in _FREQUENT)]
        return np.array([1 / (1 + order.index(name)) for name in names])

    def picture(self, block: Block, image: int) -> str:
        """Return the path of a picture."""
        return f"ADE20KPart234/images/{FOLDERS[block.split]}/{_stem(block, image)}.jpg"

    def images(self, block: Block, drawn: Drawn) -> Iterator[Fragment]:
        """Write the map of the parts of each image and yield the records."""
        shapes = outlines(drawn.places, drawn.rng)
        # Pixels of a part count only inside its object, so parts stay near the center.
        parts = outlines(drawn.places.inner(drawn.owner_of, drawn.rng, 0.2), drawn.rng)
        ends = np.cumsum(block.plan.parts, dtype=np.int64)
        folder = block.out / "ADE20KPart234/annotations_detectron2_part" / FOLDERS[block.split]
        number = block.first_id
        for image, (width, height) in enumerate(drawn.sizes):
            stem = _stem(block, image)
            part_map = np.full((height, width), UNLABELLED, np.uint16)
            annotations: list[dict[str, Any]] = []
            for item in range(block.plan.starts[image], block.plan.starts[image + 1]):
                kind = self.classes[block.plan.classes[item]]
                own = range(ends[item] - block.plan.parts[item], ends[item])
                ids = [kind.parts[drawn.chosen[part]].id for part in own]
                for part, part_id in zip(own, ids, strict=True):
                    cv2.fillPoly(part_map, [corners_of(parts[part])], part_id)
                rle = coco_mask.frPyObjects([shapes[item]], height, width)[0]
                annotations.append(
                    {
                        "id": number,
                        "image_id": stem,
                        "category_id": kind.id,
                        "segmentation": {
                            "size": [height, width],
                            "counts": rle["counts"].decode("ascii"),
                        },
                        "bbox": coco_mask.toBbox(rle).tolist(),
                        "area": float(coco_mask.area(rle)),
                        "iscrowd": 0,
                        "part_category_id": sorted(ids),
                    }
                )
                number += 1
            (folder / f"{stem}.png").write_bytes(label_png(part_map))
            size = {"width": width, "height": height}
            yield fragment(
                block.split, {"id": stem, "file_name": f"{stem}.jpg", **size}, annotations
            )


def _stem(block: Block, image: int) -> str:
    return f"ADE_{block.split}_{9_000_000 + block.first_image + image:08d}"
