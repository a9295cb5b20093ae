"""Ground truth of a split: rows of the `pairs` table as typed values, read from Parquet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from calico.predictions.types import Segment, Sizes
from mixedparts import masks
from mixedparts.errors import InputError
from mixedparts.masks import InvalidMask, Rle
from mixedparts.settings.local_paths import typed
from mixedparts.storage.build_folder import BuildFolder
from mixedparts.tables.seg_targets import seg_fault

_COLUMNS = ["id", "source", "task", "images", "objects", "parts", "seg"]
_BATCH_ROWS = 512


@dataclass(frozen=True, slots=True)
class SampleGroundTruth:
    """Annotated masks and labels of one sample.

    Attributes:
        id: of the sample.
        source: of the sample; two sources are joined by `+`.
        task: `common_object`, `common_parts` or `unique_parts`.
        image_ids: one an image, unique within the source.
        sizes: (height, width) in pixels of each image.
        segments: all annotated masks with their labels (category or part name), in the order of
            the answer's `[SEG]`; every image has at least one.
        classes: object class of each image.
        kinds: `object`, `common_part` or `unique_part` for each segment; empty if unknown.
    """

    id: str
    source: str
    task: str
    image_ids: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    segments: tuple[Segment, ...]
    classes: tuple[str, ...]
    kinds: tuple[str, ...] = ()

    @property
    def class_pair(self) -> str:
        """The object classes by the alphabet, such as `bus / truck`."""
        return " / ".join(sorted(self.classes))


@dataclass(frozen=True, slots=True)
class SplitGroundTruth:
    """Samples of a split to be scored.

    Attributes:
        split: its name.
        samples: to be scored.
        rows: position of each sample in the split.
        others: ids of the split's samples that are left out.
    """

    split: str
    samples: tuple[SampleGroundTruth, ...]
    rows: tuple[int, ...]
    others: frozenset[str]

    def sizes(self) -> dict[str, Sizes]:
        """Return sample id to image sizes."""
        return {sample.id: sample.sizes for sample in self.samples}


def read_ground_truth(build: BuildFolder, split: str, limit: int | None = None) -> SplitGroundTruth:
    """Read the ground truth of a split.

    Args:
        build: a finished build.
        split: name of the split.
        limit: greatest number of samples, spread evenly over the split's rows; None reads all.

    Returns:
        The samples in the order of the rows.

    Raises:
        UsageError: the build has no such split.
        InputError: a shard cannot be read, or a row contradicts itself.
    """
    build.check_split(split)
    total = build.count("pairs", split)
    if not total:
        raise InputError(f"the split '{split}' of {build.path} contains no samples")
    wanted = set(spread(total, limit))
    samples: list[SampleGroundTruth] = []
    others: list[str] = []
    for position, row in _rows(build, split, wanted, others):
        samples.append(_sample(row, f"row {position} of {split}"))
    # Predictions name samples by id: with a repeated id one of them would count twice.
    if len({sample.id for sample in samples} | set(others)) != total:
        raise InputError(
            f"the split '{split}' of {build.path} contains one sample id twice",
            f"Type: mixedparts verify {typed(build.path)}",
        )
    return SplitGroundTruth(split, tuple(samples), tuple(sorted(wanted)), frozenset(others))


def spread(total: int, limit: int | None) -> list[int]:
    """Return at most `limit` of `total` positions, evenly spread and always the same."""
    if limit is None or limit >= total:
        return list(range(total))
    # The middle of each of `limit` equal intervals, so that every part of the split is represented.
    return [(2 * index + 1) * total // (2 * limit) for index in range(limit)]


def _rows(
    build: BuildFolder, split: str, wanted: set[int], others: list[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield wanted rows with their positions; ids of the rest are appended to `others`."""
    position = 0
    for batch in build.batches("pairs", split, _COLUMNS, rows=_BATCH_ROWS):
        # Only wanted rows become Python values: masks of the others are not decoded.
        chosen = [i for i in range(batch.num_rows) if position + i in wanted]
        left = sorted(set(range(batch.num_rows)).difference(chosen))
        others.extend(batch.column("id").take(pa.array(left, pa.int64())).to_pylist())
        for index, row in zip(
            chosen, batch.take(pa.array(chosen, pa.int64())).to_pylist(), strict=True
        ):
            yield position + index, row
        position += batch.num_rows


def _sample(row: dict[str, Any], where: str) -> SampleGroundTruth:
    """Convert one row.

    Raises:
        InputError: the row contradicts itself.
    """
    try:
        sizes = tuple((int(image["height"]), int(image["width"])) for image in row["images"])
        segments_of = {
            "object": [_segment(item, "category", sizes) for item in row["objects"]],
            "part": [_segment(item, "name", sizes) for item in row["parts"] or ()],
        }
        order = segment_order(row)
        segments = tuple(segments_of[kind][index] for kind, index in order)
        # A unit without annotated masks would have no recall, and no model can be right about it.
        if bare := set(range(len(sizes))) - {segment.image for segment in segments}:
            raise ValueError(f"it grounds nothing in image {min(bare)}")
        return SampleGroundTruth(
            id=str(row["id"]),
            source=str(row["source"]),
            task=str(row["task"]),
            image_ids=tuple(str(image["image_id"]) for image in row["images"]),
            sizes=sizes,
            segments=segments,
            classes=tuple(str(item["category"]) for item in row["objects"]),
            kinds=tuple(
                "object" if kind == "object" else f"{row['parts'][index]['kind']}_part"
                for kind, index in order
            ),
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(
            f"{where} (id {row.get('id')!r}) cannot be used as ground truth: {error}",
            "Type: mixedparts verify DIR",
        ) from error


def segment_order(row: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Return (`object` or `part`, index) of every mask of a row, in the order of its segments.

    Raises:
        ValueError: the answer names a mask that the row does not have.
    """
    named = [(str(seg["kind"]), int(seg["index"])) for seg in row["seg"] or ()]
    numbers = {kind: len(row[f"{kind}s"] or ()) for kind in ("object", "part")}
    for kind, index in named:
        if fault := seg_fault(kind, index, numbers["object"], numbers["part"]):
            raise ValueError(fault)
    # Every mask of the row counts, also one that the answer does not name; those come last.
    every = [(kind, index) for kind, number in numbers.items() for index in range(number)]
    return list(dict.fromkeys(named + every))


def _segment(item: dict[str, Any], label: str, sizes: tuple[tuple[int, int], ...]) -> Segment:
    image = int(item["image"])
    height, width = item["mask"]["size"]
    if not 0 <= image < len(sizes) or (height, width) != sizes[image]:
        raise InvalidMask(f"a mask of {height} x {width} in image {image} of {sizes}")
    mask: Rle = masks.from_string(item["mask"]["counts"], height, width)
    return Segment(str(item[label]), image, mask)
