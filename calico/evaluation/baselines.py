"""Baselines: floors and ceilings of the metrics, from answers of known quality.

most-frequent   labels and numbers of the train split, whole-image masks; no pixel is used
other-image     each image has the ground truth of another image of its sample
wrong-labels    true masks, every label replaced by one that the sample does not have
boxes           true labels, every mask replaced by its bounding box
oracle          the ground truth

All take the build and the samples, so that one table can hold them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from calico.evaluation.ground_truth import SampleGroundTruth
from calico.evaluation.most_frequent import most_frequent
from calico.predictions.types import Prediction, Segment
from calico.processing.resampling import nearest
from mixedparts import masks
from mixedparts.masks import Rle
from mixedparts.storage.build_folder import BuildFolder

Samples = Sequence[SampleGroundTruth]
_NO_LABEL = "something else"


def oracle(build: BuildFolder, samples: Samples) -> list[Prediction]:
    """Answer with the ground truth, the ceiling of every metric."""
    return [Prediction(sample.id, "", sample.segments) for sample in samples]


def boxes(build: BuildFolder, samples: Samples) -> list[Prediction]:
    """Answer with the true labels and boxes for masks, the ceiling of a perfect box detector."""
    return [
        Prediction(sample.id, "", tuple(replace(s, mask=_box(s.mask)) for s in sample.segments))
        for sample in samples
    ]


def wrong_labels(build: BuildFolder, samples: Samples) -> list[Prediction]:
    """Answer with the true masks and wrong labels, which shows what masks alone score.

    A label is replaced by the next one, in the alphabet of all samples' labels, that its own
    sample does not have.
    """
    # The order is cyclic: after the last label comes the first. Nothing is random, so the same
    # samples always give the same score.
    alphabet = sorted({segment.label for sample in samples for segment in sample.segments})
    place = {label: index for index, label in enumerate(alphabet)}

    def wrong(sample: SampleGroundTruth) -> Prediction:
        own = {segment.label for segment in sample.segments}
        swap = {}
        for label in own:
            after = alphabet[place[label] + 1 :] + alphabet[: place[label]]
            swap[label] = next((other for other in after if other not in own), _NO_LABEL)
        segments = tuple(replace(s, label=swap[s.label]) for s in sample.segments)
        return Prediction(sample.id, "", segments)

    return [wrong(sample) for sample in samples]


def other_image(build: BuildFolder, samples: Samples) -> list[Prediction]:
    """Answer each image with the ground truth of the image before it (the first: of the last).

    Masks are stretched to the size of the image. With two images it shows what a model scores that
    knows the pair but not which image is which.
    """

    def moved(segment: Segment, sample: SampleGroundTruth) -> Segment:
        image = (segment.image + 1) % len(sample.sizes)
        return replace(segment, image=image, mask=_stretched(segment.mask, *sample.sizes[image]))

    return [
        Prediction(sample.id, "", tuple(moved(segment, sample) for segment in sample.segments))
        for sample in samples
    ]


def most_frequent_labels(build: BuildFolder, samples: Samples) -> list[Prediction]:
    """Answer with the most frequent labels of the train split, each on the whole image.

    Raises:
        UsageError: the build has no train split.
        InputError: a shard of it cannot be read.
    """
    constant = most_frequent(build)
    return [constant.predict(sample) for sample in samples]


def _box(mask: Rle) -> Rle:
    """Return the filled box of a mask."""
    x, y, width, height = map(int, masks.bbox(mask))
    dense = np.zeros((mask.height, mask.width), np.uint8)
    dense[y : y + height, x : x + width] = 1
    return masks.from_dense(dense)


def _stretched(mask: Rle, height: int, width: int) -> Rle:
    """Return a mask resized by nearest neighbours at pixel centres."""
    if (mask.height, mask.width) == (height, width):
        return mask
    return masks.from_dense(nearest(masks.decode(mask), height, width))


MOST_FREQUENT = "most-frequent"
BASELINES: Mapping[str, Callable[[BuildFolder, Samples], list[Prediction]]] = {
    MOST_FREQUENT: most_frequent_labels,
    "other-image": other_image,
    "wrong-labels": wrong_labels,
    "boxes": boxes,
    "oracle": oracle,
}
