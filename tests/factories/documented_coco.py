"""COCO-style files for the YAML that docs/coco-parts.md shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.factories.scenes import write_json, write_picture

WIDTH, HEIGHT = 96, 72


def write_documented_coco(folder: Path, description: str) -> None:
    """Write a description as `coco_parts.yaml`, and the files that it names.

    Every image shows an object of one class in turn with all parts that the YAML lists.
    """
    told: dict[str, Any] = yaml.safe_load(description)
    names = [name for own, about in told["objects"].items() for name in (own, *about["parts"])]
    for split, files in told["splits"].items():
        images, annotations = [], []
        (folder / files["images"]).mkdir(parents=True)
        for number in range(6):
            name = f"{split}-{number}.jpg"
            write_picture(folder / files["images"] / name, WIDTH, HEIGHT, number)
            images.append({"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT})
            kind = list(told["objects"])[number % len(told["objects"])]
            owner = len(annotations) + 1
            for place, category in enumerate((kind, *told["objects"][kind]["parts"])):
                left, top = 10 + 12 * place, 10 + number
                right, bottom = left + 40, top + 30
                annotation = {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": names.index(category) + 1,
                    "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
                }
                if place:
                    annotation[told["link"]["key"]] = owner
                annotations.append(annotation)
        categories = [{"id": place, "name": name} for place, name in enumerate(names, 1)]
        (folder / files["annotations"]).parent.mkdir(parents=True, exist_ok=True)
        content = {"images": images, "annotations": annotations, "categories": categories}
        write_json(folder / files["annotations"], content)
    (folder / "coco_parts.yaml").write_text(description, encoding="utf-8")
