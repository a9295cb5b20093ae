"""A published bundle written by hand: boxes as masks, every shape of record of the schema.

PACO's file is upstream's own (objects as polygons, parts as run lengths), ADE's test records name
the val file, PartImageNet's object annotations have the ids of their images.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

WIDTH, HEIGHT = 40, 30
Box = tuple[int, int, int, int]  # x, y, w, h
Record = dict[str, Any]


def dense(*boxes: Box) -> np.ndarray[Any, Any]:
    """Return the (H, W) mask of some boxes."""
    found = np.zeros((HEIGHT, WIDTH), np.uint8)
    for x, y, w, h in boxes:
        found[y : y + h, x : x + w] = 1
    return found


def rle(*boxes: Box) -> Record:
    """Return boxes as run lengths."""
    encoded = coco_mask.encode(np.asfortranarray(dense(*boxes)))
    return {"size": [HEIGHT, WIDTH], "counts": encoded["counts"].decode()}


def polygon(box: Box) -> list[list[float]]:
    """Return a box as a polygon that covers the same pixels."""
    x, y, w, h = box
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT), (90, 120, 150)).save(path)


def image(number: Any, file_name: str) -> Record:
    return {"id": number, "file_name": file_name, "width": WIDTH, "height": HEIGHT}


def annotation(number: int, image_id: Any, category: int, mask: Any, **more: Any) -> Record:
    ids = {"id": number, "image_id": image_id, "category_id": category}
    return {**ids, "segmentation": mask, "bbox": [0, 0, 1, 1], "area": 1, "iscrowd": 0, **more}


def paco() -> Record:
    """Chairs and stools of upstream's file: image 11 has two chairs."""
    categories = [
        {"id": 232, "name": "chair", "supercategory": "OBJECT"},
        {"id": 1018, "name": "stool", "supercategory": "OBJECT"},
        {"id": 900, "name": "mug", "supercategory": "OBJECT"},
        {"id": 2001, "name": "chair:leg", "supercategory": "PART"},
        {"id": 2002, "name": "chair:seat", "supercategory": "PART"},
        {"id": 2003, "name": "chair:back", "supercategory": "PART"},
        {"id": 2004, "name": "stool:leg", "supercategory": "PART"},
        {"id": 2005, "name": "stool:seat", "supercategory": "PART"},
    ]
    annotations = [
        annotation(1, 11, 232, polygon((2, 2, 10, 20)), obj_ann_id=1),
        annotation(2, 11, 232, polygon((20, 2, 10, 20)), obj_ann_id=2),
        annotation(3, 11, 2001, rle((2, 15, 3, 7)), obj_ann_id=1),
        annotation(4, 11, 2001, rle((20, 15, 3, 7)), obj_ann_id=2),
        annotation(5, 11, 2002, rle((2, 10, 10, 4)), obj_ann_id=1),
        annotation(6, 11, 2003, rle((2, 2, 10, 6)), obj_ann_id=1),
        annotation(7, 12, 1018, polygon((5, 5, 12, 18)), obj_ann_id=7),
        annotation(8, 12, 2004, rle((5, 12, 4, 11)), obj_ann_id=7),
        annotation(9, 12, 2005, rle((5, 5, 12, 5)), obj_ann_id=7),
        annotation(10, 12, 900, polygon((25, 5, 8, 8)), obj_ann_id=10),
        annotation(11, 11, 900, polygon((32, 20, 6, 8)), obj_ann_id=11),
    ]
    images = [image(11, "train2017/000000000011.jpg"), image(12, "val2017/000000000012.jpg")]
    return {"images": images, "annotations": annotations, "categories": categories}


def paco_records() -> list[Record]:
    """Two classes in common, both kinds of parts, and a pair without unique parts."""
    return [
        {
            "dataset_name": "paco_lvis", "img_ids": [11, 12], "is_object": True,
            "common": [{"cat": "mug", "ann_ids": [[11], [10]], "visibility": [0.04, 0.05]}],
        },
        {
            "dataset_name": "paco_lvis", "img_ids": [11, 12], "is_object": False,
            "pairs": [
                {
                    "cats": ["chair", "stool"], "ann_ids": [[1, 2], [7]], "visibility": [0.3, 0.2],
                    "common": [
                        {"part_cat": "leg", "part_visibility": [0.1, 0.1],
                         "part_ann_ids": [[3, 4], [8]]},
                        {"part_cat": "seat", "part_visibility": [0.1, 0.1],
                         "part_ann_ids": [[5], [9]]},
                    ],
                    "unique": {"part_cats": [["back"], []], "part_ann_ids": [[[6]], []]},
                }
            ],
        },
    ]  # fmt: skip


def part_image_net() -> tuple[Record, Record]:
    """A dog, a cat and a bird: `whole` annotation id = image id; bare part names."""
    images = [image(n, f"{name}_{n}.JPEG") for n, name in
              ((1881, "n02099601"), (1882, "n02123045"), (1883, "n01530575"))]  # fmt: skip
    whole = {
        "images": images,
        "annotations": [
            annotation(1881, 1881, 0, polygon((4, 4, 20, 20))),
            annotation(1882, 1882, 1, polygon((6, 6, 20, 20))),
            annotation(1883, 1883, 2, polygon((8, 8, 20, 20))),
        ],
        "categories": [{"id": n, "name": name} for n, name in enumerate(("dog", "cat", "bird"))],
    }
    names = (("head", "quadruped"), ("body", "quadruped"), ("tail", "quadruped"), ("head", "bird"))
    parts = {
        "images": images,
        "annotations": [
            annotation(8539, 1881, 0, polygon((4, 4, 6, 6))),
            annotation(8540, 1881, 1, polygon((10, 4, 14, 20))),
            annotation(8541, 1882, 0, polygon((6, 6, 5, 5))),
            annotation(8542, 1882, 2, polygon((20, 6, 6, 5))),
            annotation(8543, 1883, 3, polygon((8, 8, 5, 5))),
        ],
        "categories": [
            {"id": n, "name": name, "supercategory": group} for n, (name, group) in enumerate(names)
        ],
    }
    return whole, parts


def part_image_net_records() -> list[Record]:
    """Several pairs in one record are only possible with several classes; here one each."""
    name = "part_image_net"
    return [
        {
            "dataset_name": name, "img_ids": [1881, 1882], "is_object": False,
            "pairs": [{
                "cats": ["dog", "cat"], "ann_ids": [[1881], [1882]], "visibility": [0.3, 0.3],
                "common": [{"part_cat": "head", "part_visibility": [1, 1],
                            "part_ann_ids": [[8539], [8541]]}],
                "unique": {"part_cats": [["body"], ["tail"]],
                           "part_ann_ids": [[[8540]], [[8542]]]},
            }],
        },
        {
            "dataset_name": name, "img_ids": [1882, 1883], "is_object": False,
            "pairs": [{
                "cats": ["cat", "bird"], "ann_ids": [[1882], [1883]], "visibility": [0.3, 0.3],
                "common": [{"part_cat": "head", "part_visibility": [1, 1],
                            "part_ann_ids": [[8541], [8543]]}],
                "unique": None,
            }],
        },
    ]  # fmt: skip


def ade() -> Record:
    """Chairs and lamps; ids are those of the official lists."""
    from mixedparts.sources.manifests import load_manifest

    objects = load_manifest("ade20k").objects
    categories = [{"id": item.id, "name": item.key} for item in objects.values()]
    images = [image(f"ADE_val_0000000{n}", f"ADE_val_0000000{n}.jpg") for n in (1, 2)]
    annotations = [
        annotation(1, "ADE_val_00000001", objects["chair"].id, rle((2, 2, 20, 20))),
        annotation(2, "ADE_val_00000002", objects["chair"].id, rle((4, 4, 20, 20))),
        annotation(3, "ADE_val_00000001", objects["lamp"].id, rle((25, 2, 10, 20))),
        annotation(4, "ADE_val_00000002", objects["lamp"].id, rle((26, 2, 10, 20))),
    ]
    return {"images": images, "annotations": annotations, "categories": categories}


def ade_part(owner: str, native: str) -> int:
    """Return the value of a part in the part maps."""
    from mixedparts.sources.manifests import load_manifest

    parts = load_manifest("ade20k").objects[owner].parts
    return next(part.id for part in parts if part.native == native)


def ade_records() -> list[Record]:
    """Two chairs: image 1 shows `seat`, image 2 `seat cushion`, which have one name here."""
    seat = [ade_part("chair", "seat"), ade_part("chair", "seat cushion")]
    leg, back = ade_part("chair", "leg"), ade_part("chair", "back")
    shade = ade_part("lamp", "shade")
    first, second = "ADE_val_00000001", "ADE_val_00000002"
    return [
        {
            "dataset_name": "ade20k_part234", "img_ids": [first, second], "is_object": True,
            "common": [
                {"cat": "chair", "ann_ids": [[1], [2]], "visibility": [0.3, 0.3]},
                {"cat": "lamp", "ann_ids": [[3], [4]], "visibility": [0.2, 0.2]},
            ],
        },
        {
            "dataset_name": "ade20k_part234", "img_ids": [first, second], "is_object": False,
            "pairs": [
                {
                    "cats": ["chair", "chair"], "ann_ids": [[1], [2]], "visibility": [0.3, 0.3],
                    "common": [{"part_cat": "seat", "part_visibility": [0.1, 0.1],
                                "part_cat_ids": [seat, seat]}],
                    "unique": {"part_cats": [["leg"], ["back"]],
                               "part_cat_ids": [[[leg]], [[back]]]},
                },
                {
                    "cats": ["lamp", "lamp"], "ann_ids": [[3], [4]], "visibility": [0.2, 0.2],
                    "common": [{"part_cat": "shade", "part_visibility": [0.1, 0.1],
                                "part_cat_ids": [[shade], [shade]]}],
                    "unique": None,
                },
            ],
        },
    ]  # fmt: skip


def write_bundle(root: Path) -> tuple[Path, Path]:
    """Write bundle and pictures; returns (bundle, sources)."""
    bundle, sources = root / "Part_Segm", root / "sources"
    write_json(bundle / "mixed_parts_train.json", paco_records() + part_image_net_records())
    write_json(bundle / "mixed_parts_test.json", ade_records())
    write_json(sources / "paco/annotations/paco_lvis_v1_train.json", paco())
    for file in ("train2017/000000000011.jpg", "val2017/000000000012.jpg"):
        picture(sources / "coco" / file)
    whole, parts = part_image_net()
    folder = bundle / "PartImageNet" / "annotations"
    write_json(folder / "train_whole" / "train_mixed_parts.json", whole)
    write_json(folder / "train" / "train_mixed_parts.json", parts)
    for item in whole["images"]:
        picture(sources / "PartImageNet" / "images" / "train" / item["file_name"])
    write_json(bundle / "ADE20KPart234" / "ade20k_instance_val_mixed_parts.json", ade())
    for number in (1, 2):
        stem = f"ADE_val_0000000{number}"
        picture(sources / f"ADE20KPart234/images/validation/{stem}.jpg")
        labels = np.full((HEIGHT, WIDTH), 65535, np.uint16)
        native = "seat" if number == 1 else "seat cushion"
        labels[8:14, 0:40] = ade_part("chair", native)  # wider than the chair
        labels[2:6, 25:40] = ade_part("lamp", "shade")
        labels[14:20, 5:9] = ade_part("chair", "leg" if number == 1 else "back")
        path = sources / f"ADE20KPart234/annotations_detectron2_part/validation/{stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(labels).save(path)
    return bundle, sources
