"""What the native files say, worked out the slow way: json, PIL, numpy, raw pycocotools.

Shares no code with the readers or the pipeline; only display names come from the manifests.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

from mixedparts.sources.manifests import load_manifest
from tests.oracles.coco_masks import dense

Dense = NDArray[np.bool_]
UPSTREAM = {"train": "train", "validation": "val", "test": "test"}


@dataclass
class Seen:
    """Dense masks of one class in one image."""

    mask: Dense
    parts: dict[str, Dense] = field(default_factory=dict)


Images = dict[tuple[str, str], dict[str, Seen]]  # (source, image id) -> class -> masks


def add(classes: dict[str, Seen], name: str, mask: Dense) -> None:
    """Unite an instance with its class."""
    if name in classes:
        classes[name].mask = classes[name].mask | mask
    else:
        classes[name] = Seen(mask)


def add_part(seen: Seen, name: str, mask: Dense) -> None:
    """Unite a part with its name."""
    seen.parts[name] = seen.parts[name] | mask if name in seen.parts else mask


def paco(root: Path) -> Images:
    """Read every PACO split."""
    manifest = load_manifest("paco")
    by_id = {item.id: item for item in manifest.objects.values()}
    part_of = {p.id: (item, p) for item in manifest.objects.values() for p in item.parts}
    found: Images = {}
    for file in sorted((root / "paco" / "annotations").glob("paco_lvis_v1_*.json")):
        data = json.loads(file.read_text())
        sizes = {image["id"]: (image["height"], image["width"]) for image in data["images"]}
        for size in sizes:
            found["paco", str(size)] = {}
        for record in data["annotations"]:
            classes = found["paco", str(record["image_id"])]
            if record["category_id"] in by_id:
                mask = dense(record["segmentation"], *sizes[record["image_id"]])
                add(classes, by_id[record["category_id"]].name, mask)
        for record in data["annotations"]:
            classes = found["paco", str(record["image_id"])]
            if record["category_id"] in part_of:
                item, part = part_of[record["category_id"]]
                mask = dense(record["segmentation"], *sizes[record["image_id"]])
                add_part(classes[item.name], part.name, mask)
    return found


def partimagenet(root: Path) -> Images:
    """Read every PartImageNet split."""
    manifest = load_manifest("partimagenet")
    found: Images = {}
    base = root / "PartImageNet" / "annotations"
    for split in UPSTREAM.values():
        if not (base / split / f"{split}.json").is_file():
            continue
        data = json.loads((base / split / f"{split}.json").read_text())
        names = {c["id"]: c["name"] for c in data["categories"]}
        for image in data["images"]:
            stem = Path(image["file_name"]).stem
            synset = re.search(r"n\d{8}", stem)
            assert synset is not None
            item = manifest.objects[synset.group()]
            parts = {p.native.lower(): p.name for p in item.parts}
            parts |= {"tier": "tire", "tire": "tire"} if "tire" in parts.values() else {}
            size = image["height"], image["width"]
            mine = [a for a in data["annotations"] if a["image_id"] == image["id"]]
            seen = Seen(np.zeros(size, bool))
            for record in mine:
                native = names[record["category_id"]].split(" ", 1)[1].lower()
                add_part(seen, parts[native], dense(record["segmentation"], *size))
            whole = base / f"{split}_whole" / f"{stem}.png"
            if whole.is_file():
                seen.mask = np.asarray(Image.open(whole)) != 158
            else:
                seen.mask = np.any(list(seen.parts.values()), axis=0)
            found["partimagenet", stem] = {item.name: seen}
    return found


def ade20k(root: Path) -> Images:
    """Read both ADE20K-Part-234 files."""
    manifest = load_manifest("ade20k")
    by_id = {item.id: item for item in manifest.objects.values()}
    found: Images = {}
    for name, folder in (("train", "training"), ("val", "validation")):
        file = root / "ADE20KPart234" / f"ade20k_instance_{name}.json"
        if not file.is_file():
            continue
        data = json.loads(file.read_text())
        for image in data["images"]:
            stem = Path(image["file_name"]).stem
            path = root / "ADE20KPart234" / "annotations_detectron2_part" / folder / f"{stem}.png"
            values = np.asarray(Image.open(path)).astype(np.int64)
            classes: dict[str, Seen] = {}
            for record in data["annotations"]:
                if record["image_id"] != image["id"]:
                    continue
                item = by_id[record["category_id"]]
                mask = dense(record["segmentation"], image["height"], image["width"])
                add(classes, item.name, mask)
                for part in item.parts:
                    shown = (values == part.id) & mask
                    if shown.any():
                        add_part(classes[item.name], part.name, shown)
            found["ade20k", stem] = classes
    return found


def native_images(root: Path) -> Images:
    """Read the three sources."""
    return paco(root) | partimagenet(root) | ade20k(root)


def seen_in(row: dict[str, Any], image_id: str, images: Images) -> dict[str, Seen]:
    """Find an image of a row by its id; a row of two sources does not say which one has it."""
    found = [images[s, image_id] for s in row["source"].split("+") if (s, image_id) in images]
    assert len(found) == 1
    return found[0]


def check_row(row: dict[str, Any], images: Images) -> int:
    """Compare every mask, area and box of a row of `pairs`; returns how many were compared."""
    where = [seen_in(row, ref["image_id"], images) for ref in row["images"]]
    compared = 0
    for item in row["objects"]:
        _same(item, where[item["image"]][item["category"]].mask)
        compared += 1
    for part in row["parts"]:
        owner = row["objects"][part["image"]]
        assert owner["image"] == part["image"]
        _same(part, where[part["image"]][owner["category"]].parts[part["name"]])
        compared += 1
    return compared


def _same(region: dict[str, Any], wanted: Dense) -> None:
    encoded = coco_mask.encode(np.asfortranarray(wanted.astype(np.uint8)))
    stored = {"size": region["mask"]["size"], "counts": region["mask"]["counts"].encode()}
    assert stored["size"] == list(wanted.shape)
    assert (coco_mask.decode(stored).astype(bool) == wanted).all()
    assert region["area"] == int(wanted.sum())
    assert region["bbox"] == coco_mask.toBbox(encoded).tolist()


def visible(seen: Seen, least: float = 0.001) -> set[str]:
    """Names of the parts that cover at least `least` of the image."""
    return {name for name, mask in seen.parts.items() if mask.sum() / mask.size >= least}


def parts_of_row(row: dict[str, Any], images: Images) -> list[set[str]]:
    """The part names that a row must ground in each of its images, by the tasks' definitions."""
    entities = [
        seen_in(row, ref["image_id"], images)[item["category"]]
        for ref, item in zip(row["images"], row["objects"], strict=True)
    ]
    shown = [visible(seen) for seen in entities]
    if row["task"] == "common_object":
        return [set() for _ in shown]
    if row["task"] == "common_parts":
        return [set.intersection(*shown) for _ in shown]
    return [mine - set().union(*shown[:at], *shown[at + 1 :]) for at, mine in enumerate(shown)]
