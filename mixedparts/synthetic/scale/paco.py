"""PACO-LVIS v1 in numbers: objects as polygons, parts as compressed RLE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from mixedparts.synthetic.native import Fragment
from mixedparts.synthetic.native_paco import FIRST_IMAGE, PacoLayout, annotation
from mixedparts.synthetic.scale.layouts import (
    Block,
    Drawn,
    ScaleLayout,
    box_of_polygons,
    fragment,
    grouped,
)
from mixedparts.synthetic.scale.outlines import outlines

# Share of objects with 1, 2, 3 polygons: what covers an object cuts it.
_PIECES = (0.72, 0.21, 0.07)


class PacoScale(ScaleLayout):
    """PACO with the class frequencies of the real train file."""

    native = PacoLayout()
    root = "coco"
    # From the public statistics of 3,627 PACO images.
    sizes = (
        ((640, 480), 0.34), ((640, 427), 0.27), ((480, 640), 0.12), ((427, 640), 0.10),
        ((500, 375), 0.09), ((612, 612), 0.04), ((375, 500), 0.04),
    )  # fmt: skip
    area = (0.009, 1.7)
    most_images = 0.04  # 1,842 of the 45,790 train images

    def weights(self) -> NDArray[np.float64]:
        """Return the numbers of objects of each class in the real train file."""
        return np.array([item.instances for item in self.classes], np.float64)

    def picture(self, block: Block, image: int) -> str:
        """Return the path of a picture; test has pictures of both folders of COCO."""
        index = block.first_image + image
        folder = "val2017" if block.split == "test" and index % 3 else "train2017"
        return f"coco/{folder}/{FIRST_IMAGE + index:012d}.jpg"

    def images(self, block: Block, drawn: Drawn) -> Iterator[Fragment]:
        """Yield the records of the images; see `ScaleLayout.images`."""
        polygons = _object_polygons(drawn)
        masks = _part_masks(drawn)
        part_ends = np.cumsum(block.plan.parts, dtype=np.int64)
        number = block.first_id
        for image, size in enumerate(drawn.sizes):
            image_id = FIRST_IMAGE + block.first_image + image
            annotations: list[dict[str, Any]] = []
            for item in range(block.plan.starts[image], block.plan.starts[image + 1]):
                kind = self.classes[block.plan.classes[item]]
                own = number
                measure = box_of_polygons(polygons[item])
                annotations.append(
                    annotation(own, image_id, kind.id, own, *measure, polygons[item])
                )
                for part in range(part_ends[item] - block.plan.parts[item], part_ends[item]):
                    number += 1
                    category = kind.parts[drawn.chosen[part]].id
                    annotations.append(annotation(number, image_id, category, own, *masks[part]))
                number += 1
            name = self.picture(block, image).removeprefix("coco/")
            yield fragment(block.split, _image(image_id, name, size), annotations)


def _image(image_id: int, name: str, size: Sequence[int]) -> dict[str, Any]:
    return {
        "id": image_id,
        "file_name": name,
        "coco_url": f"synthetic://images/{name}",
        "width": size[0],
        "height": size[1],
        "license": 0,
        "neg_category_ids": [],
        "not_exhaustive_category_ids": [],
        "neg_category_ids_attrs": [],
        "not_exhaustive_category_ids_attrs": [],
    }


def _object_polygons(drawn: Drawn) -> list[list[list[float]]]:
    counts = drawn.rng.choice([1, 2, 3], len(drawn.places), p=_PIECES)
    owners = np.arange(len(drawn.places)).repeat(counts)
    places = drawn.places.pieces(owners, counts.repeat(counts))
    return grouped(owners, outlines(places, drawn.rng), len(drawn.places))


def _part_masks(drawn: Drawn) -> list[tuple[list[float], float, dict[str, Any]]]:
    """Return box, area and RLE of every part."""
    drawn_parts = outlines(drawn.places.inner(drawn.owner_of, drawn.rng), drawn.rng)
    found = []
    for owner, outline in zip(drawn.owner_of.tolist(), drawn_parts, strict=True):
        width, height = drawn.sizes[drawn.image_of[owner]]
        rle = coco_mask.frPyObjects([outline], height, width)[0]
        coded = {"size": [height, width], "counts": rle["counts"].decode("ascii")}
        found.append((coco_mask.toBbox(rle).tolist(), float(coco_mask.area(rle)), coded))
    return found
