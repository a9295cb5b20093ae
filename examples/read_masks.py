"""Read the masks of a row as arrays, and cut out what they cover.

It prints shape, pixels and box of every mask of one row, in the order of the `[SEG]` of its answer,
and saves each region with its background transparent. Without a build it draws synthetic sources
and builds them first.

    python examples/read_masks.py
    python examples/read_masks.py --dataset data/mixedparts --split test --row 5
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import mixedparts
from mixedparts import masks
from mixedparts.errors import UsageError
from mixedparts.exit_codes import run_command


def synthetic_build(folder: Path) -> Path:
    """Draw 24 images and build pairs of them."""
    mixedparts.sample(folder / "sources", images=24, seed=1)
    return mixedparts.build(
        ["paco"], folder / "build", root=folder / "sources", samples=60, quiet=True
    )


def regions(row: dict[str, Any]) -> list[tuple[str, int, np.ndarray]]:
    """Return name, image (from 0) and mask of what each `[SEG]` of the answer means.

    A mask is (H, W) bool on the grid of the image's stored pixels.
    """
    found = []
    for seg in row["seg"]:
        is_object = seg["kind"] == "object"
        item = row["objects" if is_object else "parts"][seg["index"]]
        height, width = item["mask"]["size"]
        rle = masks.from_string(item["mask"]["counts"], height, width)
        name = item["category"] if is_object else item["name"]
        found.append((name, item["image"], masks.decode(rle).astype(bool)))
    return found


def main() -> int:
    """Print and cut out the regions of one row."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", type=Path, help="build folder (a synthetic one)")
    parser.add_argument("--split", default="train")
    parser.add_argument("--row", type=int, help="position in the split (the first with parts)")
    parser.add_argument("--out", type=Path, default=Path("runs/examples/masks"))
    asked = parser.parse_args()
    dataset = asked.dataset or synthetic_build(asked.out)

    pairs = mixedparts.load_dataset(dataset, split=asked.split)
    place = asked.row
    if place is None:
        place = next((i for i, task in enumerate(pairs["task"]) if task == "common_parts"), 0)
    if not 0 <= place < len(pairs):
        raise UsageError(f"there is no row {place}: {asked.split} has rows 0 to {len(pairs) - 1}")
    row = pairs[place]
    print(row["question"], row["answer"], sep="\n")
    asked.out.mkdir(parents=True, exist_ok=True)
    for number, (name, image, mask) in enumerate(regions(row), 1):
        pixels = np.asarray(row["images"][image]["pixels"])  # (H, W, 3) uint8
        rows, columns = np.nonzero(mask)
        top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
        print(
            f"[SEG] {number}: {name} in image {image + 1}, {mask.shape[0]} x {mask.shape[1]},"
            f" {mask.sum()} pixels, box {left} {top} {right - left} {bottom - top}"
        )
        alpha = np.where(mask, 255, 0).astype(np.uint8)
        cut = np.dstack((pixels, alpha))[top:bottom, left:right]
        Image.fromarray(cut, "RGBA").save(asked.out / f"region-{number}.png")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
