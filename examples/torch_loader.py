"""Train another model on the pairs: a PyTorch `DataLoader` of images, masks and labels.

A batch has the images of its pairs in one size, and for every pair its masks with the number of
their image and of their name. Masks are resized with the images. Without a build it draws synthetic
sources and builds them first.

    python examples/torch_loader.py
    python examples/torch_loader.py --dataset data/mixedparts --task unique_parts --size 224
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import mixedparts
from mixedparts import masks
from mixedparts.errors import InputError
from mixedparts.exit_codes import run_command
from mixedparts.records import Task


class Pair(NamedTuple):
    """Two images with their regions.

    Attributes:
        images: (2, 3, S, S) float32 in [0, 1].
        masks: (N, S, S) bool, one a region.
        image_of: (N,) int64, the image of each mask: 0 or 1.
        name_of: (N,) int64, the name of each mask, as an index into `Pairs.names`.
        question: the text.
    """

    images: Tensor
    masks: Tensor
    image_of: Tensor
    name_of: Tensor
    question: str


class Pairs(Dataset[Pair]):
    """Rows of one task as tensors; an image is read when its row is."""

    def __init__(self, dataset: Path, split: str, task: str, size: int) -> None:
        rows = mixedparts.load_dataset(dataset, split=split)
        self.rows = rows.select([n for n, own in enumerate(rows["task"]) if own == task])
        self.size = size
        names = {item["category"] for items in rows["objects"] for item in items}
        names |= {item["name"] for items in rows["parts"] for item in items}
        self.names = sorted(names)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> Pair:
        row = self.rows[place]
        square = (self.size, self.size)
        images = [np.asarray(entry["pixels"].resize(square)) for entry in row["images"]]
        regions = [*row["objects"], *row["parts"]]
        return Pair(
            torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255,
            torch.from_numpy(np.stack([self._mask(item["mask"]) for item in regions])),
            torch.tensor([item["image"] for item in regions]),
            torch.tensor([self.names.index(item.get("category") or item["name"])
                          for item in regions]),
            row["question"],
        )  # fmt: skip

    def _mask(self, stored: dict[str, Any]) -> np.ndarray:
        dense = masks.decode(masks.from_string(stored["counts"], *stored["size"]))
        resized = Image.fromarray(dense).resize((self.size, self.size), Image.Resampling.NEAREST)
        return np.asarray(resized).astype(bool)


def collate(pairs: list[Pair]) -> tuple[Tensor, list[Pair]]:
    """Return the (B, 2, 3, S, S) images; pairs have different numbers of masks and stay a list."""
    return torch.stack([pair.images for pair in pairs]), pairs


def main() -> int:
    """Print the shapes of the first batch, and how much of the images objects cover."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", type=Path, help="build folder (a synthetic one)")
    parser.add_argument("--task", choices=[str(task) for task in Task], default="common_parts")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path("runs/examples/loader"))
    asked = parser.parse_args()
    dataset = asked.dataset
    if dataset is None:
        mixedparts.sample(asked.out / "sources", images=24, seed=1)
        dataset = mixedparts.build(
            ["paco"], asked.out / "build", root=asked.out / "sources", samples=60, quiet=True
        )

    pairs = Pairs(dataset, "train", asked.task, asked.size)
    if not pairs:
        raise InputError(f"the split train of {dataset} has no pairs of {asked.task}")
    loader = DataLoader(pairs, batch_size=4, shuffle=True, collate_fn=collate)
    images, batch = next(iter(loader))
    print(f"{len(pairs)} pairs of {asked.task}, {len(pairs.names)} names")
    print(f"images {tuple(images.shape)}, from {images.min():.2f} to {images.max():.2f}")
    for pair in batch:
        names = [pairs.names[index] for index in pair.name_of]
        print(f"masks {tuple(pair.masks.shape)}: {', '.join(names)}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
