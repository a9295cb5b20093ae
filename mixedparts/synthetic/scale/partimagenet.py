"""PartImageNet (Seg) in numbers: polygons of parts, and a map of the object of each image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mixedparts.synthetic.native import Fragment
from mixedparts.synthetic.native_partimagenet import WHOLE_BACKGROUND, PartImageNetLayout
from mixedparts.synthetic.scale.label_maps import corners_of, label_png
from mixedparts.synthetic.scale.layouts import (
    Block,
    Drawn,
    ScaleLayout,
    box_of_polygons,
    fragment,
    grouped,
)
from mixedparts.synthetic.scale.outlines import outlines

# Share of parts with 1 to 4 polygons: all feet of an animal are one part.
_PIECES = (0.70, 0.18, 0.06, 0.06)


class PartImageNetScale(ScaleLayout):
    """PartImageNet with its 158 classes, about as many images of each.

    The maps of parts and the files of sizes that the release has too are left out: the reader does
    not use them.
    """

    native = PartImageNetLayout()
    root = "PartImageNet"
    # From the images of its subset PartInventory.
    sizes = (
        ((500, 375), 0.46), ((500, 333), 0.32), ((375, 500), 0.13), ((333, 500), 0.06),
        ((500, 500), 0.03),
    )  # fmt: skip
    area = (0.2, 0.6)

    def weights(self) -> NDArray[np.float64]:
        """Return the same for every class: ImageNet has about as many images of each."""
        return np.ones(len(self.classes))

    def picture(self, block: Block, image: int) -> str:
        """Return the path of a picture, whose name begins with the synset of its class."""
        return f"PartImageNet/images/{block.split}/{self._stem(block, image)}.JPEG"

    def _stem(self, block: Block, image: int) -> str:
        kind = self.classes[block.plan.classes[image]]
        return f"{kind.key}_{9_000_000 + block.first_image + image}"

    def images(self, block: Block, drawn: Drawn) -> Iterator[Fragment]:
        """Write the map of each object and yield the records; see `ScaleLayout.images`."""
        wholes = outlines(drawn.places, drawn.rng)
        parts = _part_polygons(drawn)
        ends = np.cumsum(block.plan.parts, dtype=np.int64)
        folder = block.out / "PartImageNet" / "annotations" / f"{block.split}_whole"
        number = block.first_id
        for image, (width, height) in enumerate(drawn.sizes):
            kind = self.classes[block.plan.classes[image]]
            stem = self._stem(block, image)
            whole = np.full((height, width), WHOLE_BACKGROUND, np.uint8)
            cv2.fillPoly(whole, [corners_of(wholes[image])], kind.id)
            (folder / f"{stem}.png").write_bytes(label_png(whole))
            image_id = block.first_image + image
            annotations: list[dict[str, Any]] = []
            for part in range(ends[image] - block.plan.parts[image], ends[image]):
                box, area = box_of_polygons(parts[part])
                annotations.append(
                    {
                        "id": number,
                        "image_id": image_id,
                        "category_id": kind.parts[drawn.chosen[part]].id,
                        "bbox": box,
                        "segmentation": parts[part],
                        "area": area,
                        "iscrowd": 0,
                    }
                )
                number += 1
            size = {"width": width, "height": height}
            record = {"id": image_id, "file_name": f"{stem}.JPEG", **size}
            yield fragment(block.split, record, annotations)


def _part_polygons(drawn: Drawn) -> list[list[list[float]]]:
    places = drawn.places.inner(drawn.owner_of, drawn.rng)
    counts = drawn.rng.choice([1, 2, 3, 4], len(places), p=_PIECES)
    owners = np.arange(len(places)).repeat(counts)
    pieces = outlines(places.pieces(owners, counts.repeat(counts)), drawn.rng)
    return grouped(owners, pieces, len(places))
