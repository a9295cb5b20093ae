"""The peer of the build benchmark: the straightforward builder, written with pycocotools.

COCO() for the file, PIL to prove each picture, annToMask and dense unions for each class and part,
Python loops over image pairs and class pairs, rows as dicts in memory, Parquet at the end. It
makes the rows that `mixedparts build --sources paco` makes: the same entities, filters, tasks,
masks, boxes, areas and texts with groundings, and the table of pictures.

Where it does less work than the real builder: one question and answer wording a task; no rejects,
checks of records, plan, digests, commit records, preview or card; one split; no EXIF handling.
Where it is kinder to itself than many such scripts: masks are united once an entity, not once a
pair; pictures are written in batches, not held.

Example:
    python -m benchmarks.naive_builder --root /tmp/paco3000 --out /tmp/naive --samples 20000
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import random
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from mixedparts.sources.manifests import Manifest, load_manifest

ANNOTATIONS = "paco/annotations/paco_lvis_v1_train.json"
MIN_OBJECT, MIN_PART = 0.02, 0.001  # share of the image, as the contract's filters
TASKS = ("common_object", "common_parts", "unique_parts")
QUESTIONS = {
    "common_object": "Which object do both images show?",
    "common_parts": "Which parts do the objects of the two images share?",
    "unique_parts": "Which parts does only one of the two objects have?",
}


def measured(mask: Any) -> dict[str, Any]:
    """Return RLE, box and area of a dense mask."""
    rle = coco_mask.encode(np.asfortranarray(mask))
    return {
        "mask": {"size": [int(v) for v in rle["size"]], "counts": rle["counts"].decode("ascii")},
        "bbox": [float(v) for v in coco_mask.toBbox(rle)],
        "area": int(coco_mask.area(rle)),
    }


def unite(masks: dict[str, Any], name: str, mask: Any) -> None:
    """OR a dense mask into the one under `name`."""
    masks[name] = np.logical_or(masks[name], mask).astype(np.uint8) if name in masks else mask


def read_entities(coco: COCO, manifest: Manifest, image: dict[str, Any]) -> list[dict[str, Any]]:
    """Unite the masks of each class, and of each of its parts, in one image; drop small ones."""
    pixels = image["width"] * image["height"]
    objects: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = defaultdict(dict)
    class_of: dict[int, str] = {}
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
    for annotation in annotations:
        category = coco.cats[annotation["category_id"]]
        if category["supercategory"] == "OBJECT":
            name = manifest.objects[category["name"]].name
            class_of[annotation["id"]] = name
            unite(objects, name, coco.annToMask(annotation))
    for annotation in annotations:
        category = coco.cats[annotation["category_id"]]
        if category["supercategory"] == "PART":
            owner, native = category["name"].split(":")
            part = next(p.name for p in manifest.objects[owner].parts if p.native == native)
            unite(parts[class_of[annotation["obj_ann_id"]]], part, coco.annToMask(annotation))
    entities = []
    for name, mask in objects.items():
        if mask.sum() < MIN_OBJECT * pixels:
            continue
        visible = {p: m for p, m in parts[name].items() if m.sum() >= MIN_PART * pixels}
        entity = {"class": name, **measured(mask)}
        entity["parts"] = {part: measured(m) for part, m in visible.items()}
        entities.append(entity)
    return entities


def candidates(
    per_image: list[tuple[dict[str, Any], list[dict[str, Any]]]], comparable: set[tuple[str, str]]
) -> dict[str, list[tuple[int, int, int, int]]]:
    """List every admissible pair by task, as positions (image, entity, image, entity)."""
    found: dict[str, list[tuple[int, int, int, int]]] = {task: [] for task in TASKS}
    for i, j in itertools.combinations(range(len(per_image)), 2):
        for a, first in enumerate(per_image[i][1]):
            for b, second in enumerate(per_image[j][1]):
                if first["class"] == second["class"]:
                    found["common_object"].append((i, a, j, b))
                if (first["class"], second["class"]) not in comparable:
                    continue
                one, two = set(first["parts"]), set(second["parts"])
                if one & two:
                    found["common_parts"].append((i, a, j, b))
                if one and two and one ^ two:
                    found["unique_parts"].append((i, a, j, b))
    return found


def choose(found: dict[str, list[Any]], samples: int, rng: random.Random) -> list[tuple[str, Any]]:
    """Draw the rows: tasks evenly, what one cannot fill going to the others."""
    chosen: list[tuple[str, Any]] = []
    left = samples
    for position, task in enumerate(sorted(TASKS, key=lambda task: len(found[task]))):
        share = min(len(found[task]), left // (len(TASKS) - position))
        chosen += [(task, pair) for pair in rng.sample(found[task], share)]
        left -= share
    return chosen


def phrase(name: str, images: Sequence[int]) -> str:
    """Ground one noun phrase."""
    return f"<p> the {name} </p> " + " ".join(f"[SEG] (IMAGE{i + 1})" for i in images)


def listed(phrases: list[str]) -> str:
    """Join phrases with commas and a final "and"."""
    return phrases[0] if len(phrases) == 1 else ", ".join(phrases[:-1]) + ", and " + phrases[-1]


def make_row(
    task: str, images: list[dict[str, Any]], pair: list[dict[str, Any]], rows: dict[int, int]
) -> dict[str, Any]:
    """Assemble one sample: objects, parts with masks, question, grounded answer."""
    objects = [{"image": i, "category": e["class"], **without_parts(e)} for i, e in enumerate(pair)]
    seg = [{"kind": "object", "index": i} for i in range(2)]
    parts: list[dict[str, Any]] = []
    phrases: list[str] = []
    for name in sorted(set(pair[0]["parts"]) | set(pair[1]["parts"])):
        holders = [i for i, entity in enumerate(pair) if name in entity["parts"]]
        kind = "common" if len(holders) == 2 else "unique"
        if task == f"{kind}_parts":
            phrases.append(phrase(name, holders))
            for i in holders:
                seg.append({"kind": "part", "index": len(parts)})
                parts.append({"image": i, "name": name, "kind": kind, **pair[i]["parts"][name]})
    if pair[0]["class"] == pair[1]["class"]:
        answer = f"Both images show {phrase(pair[0]['class'], (0, 1))}."
    else:
        both = [phrase(entity["class"], (i,)) for i, entity in enumerate(pair)]
        answer = f"The images show {both[0]} and {both[1]}."
    if phrases:
        answer += f" The parts are {listed(phrases)}."
    ids = [str(image["id"]) for image in images]
    classes = [entity["class"] for entity in pair]
    return {
        "id": hashlib.sha256(":".join([task, *ids, *classes]).encode()).hexdigest()[:16],
        "source": "paco",
        "split": "train",
        "task": task,
        "images": [
            {
                "image_id": str(image["id"]),
                "row": rows[image["id"]],
                "file_name": image["file_name"],
                "width": image["width"],
                "height": image["height"],
            }
            for image in images
        ],
        "objects": objects,
        "parts": parts,
        "question": QUESTIONS[task],
        "answer": answer,
        "seg": seg,
    }


def without_parts(entity: dict[str, Any]) -> dict[str, Any]:
    """Return mask, box and area of an entity."""
    return {key: entity[key] for key in ("mask", "bbox", "area")}


def write_images(path: Path, folder: Path, used: list[dict[str, Any]], embed: bool) -> None:
    """Write the pictures that some pair uses, 100 a batch."""
    writer = None
    for start in range(0, len(used), 100):
        batch = []
        for row, image in enumerate(used[start : start + 100], start):
            file = folder / image["file_name"]
            data = file.read_bytes()
            batch.append(
                {
                    "row": row,
                    "image_id": str(image["id"]),
                    "image": {"bytes": data if embed else None, "path": str(file)},
                    "width": image["width"],
                    "height": image["height"],
                    "sha256": hashlib.sha256(data).hexdigest(),
                    "source": "paco",
                    "split": "train",
                }
            )
        table = pa.Table.from_pylist(batch)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer:
        writer.close()


def build(root: Path, out: Path, samples: int, seed: int, embed: bool) -> int:
    """Build everything; return the number of rows."""
    out.mkdir(parents=True, exist_ok=True)
    manifest = load_manifest("paco")
    with contextlib.redirect_stdout(sys.stderr):  # COCO() prints
        coco = COCO(str(root / ANNOTATIONS))
    per_image = []
    for image in coco.dataset["images"]:
        with Image.open(root / "coco" / image["file_name"]) as picture:
            picture.load()
            if picture.size != (image["width"], image["height"]):
                continue
        per_image.append((image, read_entities(coco, manifest, image)))
    names = list(manifest.by_name)
    comparable = {(a, b) for a in names for b in names if manifest.comparable(a, b)}
    rng = random.Random(seed)
    chosen = choose(candidates(per_image, comparable), samples, rng)
    used = sorted({k for _, (i, _, j, _) in chosen for k in (i, j)})
    pictures = [per_image[i][0] for i in used]
    place = {image["id"]: row for row, image in enumerate(pictures)}
    rows = []
    for task, (i, a, j, b) in chosen:
        order = [(i, a), (j, b)] if rng.random() < 0.5 else [(j, b), (i, a)]
        images = [per_image[image][0] for image, _ in order]
        rows.append(make_row(task, images, [per_image[k][1][e] for k, e in order], place))
    (out / "pairs").mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), out / "pairs" / "train-00000-of-00001.parquet")
    write_images(out / "images.parquet", root / "coco", pictures, embed)
    return len(rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.naive_builder",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", choices=("embed", "reference"), default="embed")
    given = parser.parse_args(argv)
    print(build(given.root, given.out, given.samples, given.seed, given.images == "embed"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
