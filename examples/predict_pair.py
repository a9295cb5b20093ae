"""Ask a trained model about two images, and use its masks as arrays.

It prints the answer and the share of the image that each region covers, and saves the picture with
the masks and all masks in one NumPy file. `make demo` trains a small model (runs/demo/calico).

    python examples/predict_pair.py runs/demo/calico a.jpg b.jpg --task unique_parts
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

import calico
from mixedparts.exit_codes import run_command


def main() -> int:
    """Load, ask, save."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path, help="folder of a checkpoint, or of a run")
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--task", default="common_parts")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path("runs/examples/prediction"))
    asked = parser.parse_args()

    model = calico.load(asked.checkpoint, device=asked.device)
    answer = model(asked.first, asked.second, task=asked.task)
    print(answer.question, answer.text, sep="\n")

    arrays = {}
    for number, (label, image, mask) in enumerate(answer.masks(), 1):
        score = answer.segments[number - 1].score
        print(f"{label or 'no name'} in image {image + 1}: {mask.mean():.1%}, score {score:.2f}")
        arrays[f"{number}-image{image + 1}"] = mask  # (H, W) bool in the size of the image
    asked.out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(asked.out / "masks.npz", **arrays)
    answer.overlay().save(asked.out / "overlay.png")
    print(f"{len(arrays)} masks in {asked.out / 'masks.npz'}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
