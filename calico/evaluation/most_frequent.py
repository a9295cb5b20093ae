"""The most-frequent baseline: the floor of the metrics, predictions that use no pixel.

For every task and image slot (first, second image): as many object labels as the median number of
objects in that slot of the train split, the most frequent ones there, and part labels by the same
rule. Medians are rounded half up, equal frequencies are ordered by the alphabet. Every mask is the
whole image. A task that the train split lacks has empty answers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from calico.evaluation.ground_truth import SampleGroundTruth
from calico.predictions.types import Prediction, Segment
from mixedparts import masks
from mixedparts.storage.build_folder import BuildFolder
from mixedparts.storage.checked_rows import checked_batches

_BATCH_ROWS = 65_536
_LABEL = {"objects": "category", "parts": "name"}
# Leaf columns with tasks, image numbers and labels. Masks, most of the bytes, are not read.
_LEAVES = (
    "task",
    "images.list.element.row",
    *(
        f"{column}.list.element.{leaf}"
        for column, label in _LABEL.items()
        for leaf in ("image", label)
    ),
)
_Slot = tuple[str, int]


@dataclass(frozen=True, slots=True)
class MostFrequent:
    """The most frequent labels of the train split, each on the whole image.

    Attributes:
        labels: (task, image) to labels, objects before parts.
    """

    labels: Mapping[_Slot, tuple[str, ...]]

    def predict(self, sample: SampleGroundTruth) -> Prediction:
        """Answer a sample from its task and image sizes alone."""
        # Run lengths [0, H * W]: no background, then foreground to the end.
        segments = tuple(
            Segment(label, image, masks.from_counts([0, height * width], height, width))
            for image, (height, width) in enumerate(sample.sizes)
            for label in self.labels.get((sample.task, image), ())
        )
        return Prediction(sample.id, "", segments)


def most_frequent(build: BuildFolder, split: str = "train") -> MostFrequent:
    """Count the labels in a split's `pairs` table; masks are not read.

    Raises:
        UsageError: the build has no such split.
        InputError: a shard cannot be read.
    """
    labels: dict[str, dict[_Slot, Counter[str]]] = {c: defaultdict(Counter) for c in _LABEL}
    numbers: dict[str, dict[_Slot, Counter[int]]] = {c: defaultdict(Counter) for c in _LABEL}
    build.check_split(split)
    for batch in checked_batches(build, "pairs", split, _LEAVES, rows=_BATCH_ROWS):
        for column, label in _LABEL.items():
            _count_labels(batch, column, label, labels[column])
            _count_numbers(batch, column, numbers[column])
    slots = sorted(numbers["objects"])
    return MostFrequent(
        {
            slot: tuple(
                label
                for column in _LABEL
                for label in _top(labels[column][slot], _median(numbers[column][slot]))
            )
            for slot in slots
        }
    )


def _count_labels(
    batch: pa.RecordBatch, column: str, label: str, counts: dict[_Slot, Counter[str]]
) -> None:
    items = batch.column(column).flatten()
    # Counted by Arrow: the flattened items joined with the task of their row.
    rows = pc.list_parent_indices(batch.column(column))
    table = pa.table(
        {
            "task": batch.column("task").take(rows),
            "image": items.field("image"),
            "label": items.field(label),
        }
    )
    grouped = table.group_by(["task", "image", "label"]).aggregate([([], "count_all")])
    for entry in grouped.to_pylist():
        counts[entry["task"], entry["image"]][entry["label"]] += entry["count_all"]


def _count_numbers(batch: pa.RecordBatch, column: str, counts: dict[_Slot, Counter[int]]) -> None:
    """Count how many rows have each number of items in each image slot, zero included."""
    slots = pc.fill_null(pc.list_value_length(batch.column("images")), 0).to_numpy()
    width = int(slots.max(initial=0))
    rows = pc.list_parent_indices(batch.column(column)).to_numpy()
    images = batch.column(column).flatten().field("image").to_numpy(zero_copy_only=False)
    # (rows, width) numbers of items by one bincount over row * width + image.
    items = np.bincount(rows * width + images, minlength=batch.num_rows * width)
    tasks = np.array(batch.column("task").to_pylist(), dtype=object)
    for image in range(width):
        exists = slots > image  # rows may have different numbers of images
        number = items.reshape(-1, width)[:, image]
        for task in sorted(set(tasks[exists])):
            values, times = np.unique(number[exists & (tasks == task)], return_counts=True)
            for value, count in zip(values.tolist(), times.tolist(), strict=True):
                counts[task, image][value] += count


def _median(numbers: Counter[int]) -> int:
    # numpy rounds half to even; adding .5 rounds a median between two numbers up.
    values = sorted(numbers)
    every = np.repeat(values, [numbers[value] for value in values])
    return int(np.floor(np.median(every) + 0.5)) if len(every) else 0


def _top(counts: Counter[str], number: int) -> list[str]:
    return sorted(counts, key=lambda label: (-counts[label], label))[:number]
