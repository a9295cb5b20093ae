"""Write PACO-LVIS v1: objects as LVIS polygons, parts as RLE, images in COCO's folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mixedparts.sources.manifests import load_manifest
from mixedparts.synthetic.native import Fragment, NativeLayout, box_of, encode, rle_of, split_of
from mixedparts.synthetic.painting import jpeg
from mixedparts.synthetic.raster import Cut
from mixedparts.synthetic.render import render
from mixedparts.synthetic.vocabulary import object_class, part_id

_SPLITS = ("train", "val", "test")
_FILES = {split: f"paco/annotations/paco_lvis_v1_{split}.json" for split in _SPLITS}
FIRST_IMAGE = 900_000_000  # beyond all COCO ids, so that no image is taken for a real one


class PacoLayout(NativeLayout):
    """`paco/annotations/paco_lvis_v1_{split}.json` and `coco/{train2017,val2017}/*.jpg`."""

    source = "paco"
    roots = ("paco", "coco")
    files = _FILES
    image_file_globs = ("coco/*2017/000900??????.jpg", "coco/synthetic_pool/*.jpg")

    def folders(self) -> Sequence[str]:
        """Return the folders to create, relative to the output folder."""
        return ("paco/annotations", "coco/train2017", "coco/val2017")

    def write(self, out: Path, seed: int, index: int) -> Fragment:
        """Draw one image, write its JPEG and return its annotations.

        Args:
            out: folder of the sources.
            seed: of the run.
            index: of the image in its source, from 0.

        Returns:
            The records for the annotation file.
        """
        rendered = render(seed, self.source, index)
        split = split_of(index)
        image_id = FIRST_IMAGE + index
        # PACO's test is LVIS's val, with images of both COCO folders; train and val lie in one.
        folder = "val2017" if split == "test" and index % 3 else "train2017"
        name = f"{folder}/{image_id:012d}.jpg"
        (out / "coco" / name).write_bytes(jpeg(rendered.pixels))
        annotations: list[dict[str, Any]] = []
        # A hundred ids an image are more than it has annotations: ids stay unique without a counter
        # that the workers share.
        first = index * 100 + 1
        for item in rendered.objects:
            own = first + len(annotations)
            category = object_class(self.source, item.key).id
            annotations.append(
                _cut_annotation(own, image_id, category, own, item.cut, item.cut.polygons)
            )
            for part in item.parts:
                number = first + len(annotations)
                category = part_id(self.source, item.key, part.native)
                segmentation = rle_of(part.cut.mask)
                annotations.append(
                    _cut_annotation(number, image_id, category, own, part.cut, segmentation)
                )
        image = {
            "id": image_id,
            "file_name": name,
            "coco_url": f"synthetic://images/{name}",
            "width": rendered.scene.width,
            "height": rendered.scene.height,
            "license": 0,
            "neg_category_ids": [],
            "not_exhaustive_category_ids": [],
            "neg_category_ids_attrs": [],
            "not_exhaustive_category_ids_attrs": [],
        }
        return Fragment(
            split,
            encode(image),
            tuple(encode(annotation) for annotation in annotations),
            tuple(annotation["category_id"] for annotation in annotations),
        )

    def blocks(self, train: Counter[int], train_images: Counter[int]) -> dict[str, Any]:
        """Return the 531 categories with this set's train counts, and the 200 part names."""
        objects = load_manifest(self.source).objects.values()
        names = {item.id: (item.native, "OBJECT", item.synset) for item in objects}
        # PACO lists a category for every class with each of its parts, named `class:part`.
        parts = {
            part.id: (f"{item.native}:{part.native}", "PART", part.native)
            for item in objects
            for part in item.parts
        }
        categories = []
        for number, (name, kind, synset) in [*sorted(names.items()), *sorted(parts.items())]:
            images = train_images[number]
            categories.append(
                {
                    "name": name,
                    "id": number,
                    "image_count": images,
                    "instance_count": train[number],
                    "synset": synset,
                    # LVIS's bands: rare up to 10 images, common up to 100, else frequent.
                    "frequency": "f" if images > 100 else "c" if images > 10 else "r",
                    "supercategory": kind,
                }
            )
        part_names = dict.fromkeys(native for _, (_, _, native) in sorted(parts.items()))
        return {
            "categories": categories,
            "part_categories": [
                {"supercategory": "PART", "id": number, "name": name}
                for number, name in enumerate(part_names)
            ],
            "attributes": [],
            "attr_type_to_attr_idxs": {},
        }


def _cut_annotation(
    number: int, image_id: int, category: int, owner: int, cut: Cut, segmentation: object
) -> dict[str, Any]:
    area = float(cut.mask.sum())
    return annotation(number, image_id, category, owner, box_of(cut.mask), area, segmentation)


def annotation(
    number: int,
    image_id: int,
    category: int,
    owner: int,
    box: list[float],
    area: float,
    segmentation: object,
) -> dict[str, Any]:
    """Return an annotation with all keys of the format; attributes are empty.

    Args:
        number: its id.
        image_id: of its image.
        category: id of its category.
        owner: id of the object's annotation: of its object for a part, its own for an object.
        box: x, y, w, h in pixels.
        area: in pixels.
        segmentation: polygons or RLE.

    Returns:
        The annotation, ready for JSON.
    """
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category,
        "bbox": box,
        "area": area,
        "segmentation": segmentation,
        "obj_ann_id": owner,
        "attribute_ids": [],
        "dom_color_ids": [],
        "unknown_color": 0,
        "unknown_pattern_marking": 0,
        "unknown_material": 0,
        "unknown_transparency": 0,
    }
