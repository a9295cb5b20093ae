"""Random samples and answers of mixed quality, for tests of scores, comparison and report."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from calico.evaluation.ground_truth import SampleGroundTruth
from calico.predictions.types import Prediction, Segment
from tests.factories.evaluation import HEIGHT, WIDTH, box, truth

TASKS = ("common_object", "common_parts", "unique_parts")
SOURCES = ("ade20k", "paco")
NAMES = ("lid", "handle", "spout", "rim", "a_seat", "back leg")
CLASSES = (("cup", "pan"), ("bus", "truck"), ("cup", "cup"))


def _segment(rng: np.random.Generator, image: int) -> Segment:
    x, y = int(rng.integers(WIDTH - 4)), int(rng.integers(HEIGHT - 4))
    shape = box(x, y, int(rng.integers(2, WIDTH - x)), int(rng.integers(2, HEIGHT - y)))
    return Segment(str(rng.choice(NAMES)), image, shape)


def random_samples(number: int, seed: int = 0) -> list[SampleGroundTruth]:
    """Return samples of all tasks and sources, one to four masks an image."""
    rng = np.random.default_rng(seed)
    samples = []
    for place in range(number):
        segments = [_segment(rng, image) for image in (0, 1) for _ in range(rng.integers(1, 5))]
        task, source = TASKS[place % 3], SOURCES[place % 2]
        classes = CLASSES[int(rng.integers(3))]
        images = (f"i{rng.integers(99)}", f"j{place}")
        samples.append(truth(f"{source}/{place:03d}", segments, task, source, images, classes))
    return samples


def random_answers(
    samples: list[SampleGroundTruth], seed: int = 0, quality: float = 0.6
) -> dict[str, Prediction]:
    """Answer most samples: masks that are right, shifted, misnamed, left out or made up."""
    rng = np.random.default_rng(seed)
    answers = {}
    for sample in samples:
        if rng.random() < 0.05:
            continue
        said = []
        for segment in sample.segments:
            luck = rng.random()
            if luck < quality:
                said.append(segment)
            elif luck < quality + 0.15:
                said.append(replace(segment, label=str(rng.choice(NAMES))))
            elif luck < quality + 0.3:
                said.append(_segment(rng, segment.image))
        said += [_segment(rng, int(rng.integers(2))) for _ in range(rng.integers(2))]
        scores = rng.choice([0.2, 0.5, 0.5, 0.9], len(said))
        segments = tuple(replace(s, score=float(v)) for s, v in zip(said, scores, strict=True))
        answers[sample.id] = Prediction(sample.id, "", segments, untagged=int(rng.integers(2)))
    return answers
