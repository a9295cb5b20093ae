"""Writes tiny COCO-style files with objects and parts, and the YAML that describes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.factories.scenes import (
    COUNTS,
    SIZES,
    NativeImage,
    NativeObject,
    NativePart,
    corners,
    encode,
    filled,
    object_box,
    polygon_mask,
    write_json,
    write_picture,
)

PARTS = {"coffee_mug": ("handle", "body"), "soup_bowl": ("rim", "body"), "spoon": ()}
SCENES = (("coffee_mug", "soup_bowl"), ("coffee_mug", "coffee_mug", "spoon"), ("soup_bowl",))
LISTED = """
objects:
  coffee_mug: {name: mug, parts: {"coffee_mug:handle": handle, "coffee_mug:body": body}}
  soup_bowl: {name: bowl, parts: {"soup_bowl:rim": rim, "soup_bowl:body": body}}
  spoon: {parts: {}}
groups:
  tableware: {why: hold what is drunk or eaten, classes: [bowl, mug]}
alone:
  spoon: has no annotated part
"""
SEPARATED = 'separator: ":"\n'


def yaml_text(link: str, classes: str = LISTED) -> str:
    """Return a description; `link` is what stands after `link: `."""
    splits = "".join(
        f"  {split}: {{annotations: notes/{split}.json, images: pictures/{split}}}\n"
        for split in COUNTS
    )
    return (
        "title: Table parts\nversion: '2'\nhomepage: https://example.org/table\n"
        "licence: CC0\nimage_licence: CC BY 4.0\ncitation: A. Author, 2026\n"
        f"link: {link}\nsplits:\n{splits}{classes}"
    )


def write_coco_parts(
    root: Path,
    counts: Mapping[str, int] = COUNTS,
    link: str = "{key: owner}",
    classes: str = LISTED,
) -> list[NativeImage]:
    """Write `coco_parts/` under `root`: objects as polygons, parts as run lengths.

    With `link: union` no object is written, and each class has the union of its parts.
    """
    written: list[NativeImage] = []
    base = root / "coco_parts"
    for split, count in counts.items():
        images: list[dict[str, Any]] = []
        notes: list[dict[str, Any]] = []
        for index in range(count):
            width, height = SIZES[index % len(SIZES)]
            name = f"shelf/{split}-{index}.jpg"
            write_picture(base / "pictures" / split / name, width, height, index)
            images.append({"id": index, "file_name": name, "width": width, "height": height})
            scene = SCENES[index % len(SCENES)]
            objects = _objects(scene, width, height)
            for item in objects:
                owner = len(notes) + 1
                if link != "union":
                    notes.append(_note(owner, index, item.category, None))
                    box = object_box(objects.index(item), len(scene), width, height)
                    notes[-1]["segmentation"] = [corners(box)]
                notes += [
                    _note(len(notes) + 1 + number, index, f"{item.category}:{part.name}", owner)
                    | {"segmentation": encode(part.mask)}
                    for number, part in enumerate(item.parts)
                ]
            written.append(
                NativeImage(
                    split,
                    name.removesuffix(".jpg"),
                    name,
                    f"coco_parts/pictures/{split}/{name}",
                    width,
                    height,
                    tuple(_united(objects) if link == "union" else objects),
                )
            )
        content = {"images": images, "annotations": _by_id(notes), "categories": categories()}
        write_json(base / f"notes/{split}.json", content)
    (base / "coco_parts.yaml").write_text(yaml_text(link, classes), encoding="utf-8")
    return written


def _objects(scene: tuple[str, ...], width: int, height: int) -> list[NativeObject]:
    objects = []
    for slot, key in enumerate(scene):
        box = object_box(slot, len(scene), width, height)
        x, y, w, h = box
        parts = tuple(
            NativePart(name, 0, filled((x, y + number * (h // 2), w, h // 3), width, height))
            for number, name in enumerate(PARTS[key])
        )
        objects.append(NativeObject(key, polygon_mask([corners(box)], width, height), parts))
    return objects


def _united(objects: list[NativeObject]) -> list[NativeObject]:
    united = []
    for key in dict.fromkeys(item.category for item in objects if item.parts):
        parts = tuple(p for item in objects if item.category == key for p in item.parts)
        united.append(NativeObject(key, np.max([part.mask for part in parts], axis=0), parts))
    return united


def _note(number: int, image: int, category: str, owner: int | None) -> dict[str, Any]:
    names = [entry["name"] for entry in categories()]
    note = {"id": number, "image_id": image, "category_id": names.index(category) + 1}
    return note if owner is None else note | {"owner": owner}


def _by_id(notes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(notes, key=lambda note: int(note["id"]))


def categories() -> list[dict[str, Any]]:
    """Return objects and `object:part`, ids from 1."""
    names = [*PARTS, *(f"{key}:{part}" for key, parts in PARTS.items() for part in parts)]
    return [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
