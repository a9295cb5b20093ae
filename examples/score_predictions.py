"""Score the predictions of any model, in Python and as a file for `calico-eval`.

Replace `your_model`: it gets the images and the question of a row, and returns a label, the number
of the image and a boolean array for every region. The one here marks whatever differs from the
image's corner and calls it by the most frequent class. docs/evaluation.md defines the metrics.

    python examples/score_predictions.py
    python examples/score_predictions.py --dataset data/mixedparts --split benchmark
    calico-eval --dataset data/mixedparts --predictions runs/examples/scores/predictions.jsonl
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

import mixedparts
from calico.evaluation.ground_truth import read_ground_truth
from calico.evaluation.scoring import score
from calico.evaluation.summary import HEADLINE, summarise
from calico.evaluation.text import load_text_model
from calico.predictions.files import write_predictions
from calico.predictions.types import Prediction, Segment
from mixedparts import masks
from mixedparts.exit_codes import run_command
from mixedparts.storage.build_folder import BuildFolder

Region = tuple[str, int, np.ndarray]
Model = Callable[[list[Image.Image], str], list[Region]]


def your_model(usual: str) -> Model:
    """Return a model that always names the same class."""

    def answer(images: list[Image.Image], question: str) -> list[Region]:
        regions = []
        for number, image in enumerate(images):
            pixels = np.asarray(image).astype(int)
            mask = np.abs(pixels - pixels[0, 0]).max(axis=2) > 48
            if mask.any():
                regions.append((usual, number, mask))
        return regions

    return answer


def synthetic_build(folder: Path) -> Path:
    """Draw 24 images and build pairs of them."""
    mixedparts.sample(folder / "sources", images=24, seed=1)
    return mixedparts.build(
        ["paco"], folder / "build", root=folder / "sources", samples=60, quiet=True
    )


def main() -> int:
    """Predict, write the file, score."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", type=Path, help="build folder (a synthetic one)")
    parser.add_argument("--split", default="benchmark")
    parser.add_argument("--out", type=Path, default=Path("runs/examples/scores"))
    asked = parser.parse_args()
    dataset = asked.dataset or synthetic_build(asked.out)

    train = mixedparts.load_dataset(dataset, split="train", pixels=False)
    classes = Counter(item["category"] for objects in train["objects"] for item in objects)
    model = your_model(classes.most_common(1)[0][0])

    predictions = {}
    for row in mixedparts.load_dataset(dataset, split=asked.split):
        found = model([entry["pixels"] for entry in row["images"]], row["question"])
        segments = tuple(
            Segment(name, image, masks.from_dense(mask)) for name, image, mask in found
        )
        predictions[row["id"]] = Prediction(row["id"], "", segments)
    asked.out.mkdir(parents=True, exist_ok=True)
    written = write_predictions(asked.out / "predictions.jsonl", predictions.values())
    print(f"{written} predictions in {asked.out / 'predictions.jsonl'}")

    truth = read_ground_truth(BuildFolder.open(dataset), asked.split)
    text = load_text_model("minilm")
    summary = summarise(score(truth.samples, predictions, text, text), replicates=200)
    for title, group in summary.groups().items():
        values = [f"{name} {100 * group.metrics[key].value:.1f}" for name, key in HEADLINE.items()]
        print(f"{title} ({group.samples} samples): {', '.join(values)}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
