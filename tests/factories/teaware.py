"""Writes the source of docs/add-a-source.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.factories.scenes import corners, write_json, write_picture

WIDTH, HEIGHT = 80, 60


def write_teaware(root: Path, counts: dict[str, int]) -> dict[str, list[dict[str, Any]]]:
    """Write teapots and milk jugs side by side; every third image lacks the teapot's knob."""
    written = {}
    for split, count in counts.items():
        images = []
        for index in range(count):
            name = f"{split}-{index}.jpg"
            write_picture(root / "teaware/images" / name, WIDTH, HEIGHT, index)
            parts = [
                {"name": part, "outline": corners((4 + 12 * at, 6, 10, 40))}
                for at, part in enumerate(("spout", "handle", "knob")[: 2 + (index % 3 > 0)])
            ]
            pot = {"class": "teapot", "outline": corners((2, 4, 38, 50)), "parts": parts}
            spout = {"name": "spout", "outline": corners((46, 8, 20, 30))}
            jug = {"class": "MILK_JUG", "outline": corners((44, 4, 30, 50)), "parts": [spout]}
            images.append({"name": name, "width": WIDTH, "height": HEIGHT, "objects": [pot, jug]})
        write_json(root / f"teaware/{split}.json", {"images": images})
        written[split] = images
    return written
