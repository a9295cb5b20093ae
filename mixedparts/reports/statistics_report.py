"""Statistics as JSON values and as text tables, compared with the paper's published figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedparts.cards.summary import text_table
from mixedparts.records import SPLITS, Task
from mixedparts.reports.statistics import Cell, EntityCounts, Statistics, coco_sizes

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_PAPER = "paper"  # CALICO, CVPR 2025, main text
_CARD = "dataset card"  # huggingface.co/datasets/PLAN-Lab/MixedParts
_DERIVED = "2 x samples / images of the paper"


def values_of(statistics: Statistics) -> dict[str, Any]:
    """Return all statistics as JSON values; lists of numbers are reduced to quantiles."""
    cells = _cells(statistics)
    pairs: Counter[str] = Counter()
    for counted in statistics.class_pairs.values():
        pairs.update(counted)
    return {
        "build_id": statistics.manifest["build_id"],
        "synthetic": statistics.manifest["synthetic"],
        "samples": {" / ".join(key): number for key, number in sorted(statistics.samples.items())},
        "images": {" / ".join(key): number for key, number in sorted(statistics.images.items())},
        "images_per_sample": {str(size): n for size, n in sorted(statistics.sizes.items())},
        "classes": _ranked(statistics.classes),
        "parts": _ranked(statistics.parts),
        "class_pairs": _ranked(pairs),
        "class_pair_use": {" / ".join(cell): _pair_use(statistics, cell) for cell in cells},
        "image_use": {" / ".join(cell): _image_use(statistics, cell) for cell in cells},
        "mask_share_of_image": {
            level: {"masks": shares.size, **_quantiles(shares, 5)}
            for level, shares in statistics.shares.items()
        },
        "mask_sizes": {level: coco_sizes(areas) for level, areas in statistics.areas.items()},
        "rejects": _rejects(statistics),
        "answer_words": {
            task: _words(statistics, task) for task in Task if task in statistics.words
        },
        "paper": [
            dict(zip(("figure", "published", "here", "where"), row, strict=True))
            for row in paper_rows(statistics)
        ],
    }


def _rejects(statistics: Statistics) -> dict[str, int]:
    """Return the number of rejects of each reason, largest first, whatever their level."""
    reasons: Counter[str] = Counter()
    for (_, _, _, reason), number in statistics.rejects.items():
        reasons[reason] += number
    return _ranked(reasons)


def _cells(statistics: Statistics) -> list[Cell]:
    """Return the cells with samples, by source and then in the order of `Task`."""
    order = list(map(str, Task))
    return sorted(statistics.class_pairs, key=lambda cell: (cell[0], order.index(cell[1])))


def _ranked(counts: Counter[str]) -> dict[str, int]:
    """Return the counts, largest first; equal ones by name, so that the order is fixed."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _quantiles(values: NDArray[Any], digits: int = 2) -> dict[str, float]:
    """Return `QUANTILES` of some values under names such as `5%`; nothing for no values."""
    if not values.size:
        return {}
    quantiles = np.quantile(values, QUANTILES)
    return {f"{q:.0%}": round(float(v), digits) for q, v in zip(QUANTILES, quantiles, strict=True)}


def _pair_use(statistics: Statistics, cell: Cell) -> dict[str, float]:
    """Return the number of class pairs of a cell, and quantiles of the samples of each."""
    rows = np.array(list(statistics.class_pairs[cell].values()), np.int64)
    return {"class_pairs": rows.size, **_quantiles(rows), "most": int(rows.max(initial=0))}


def _image_use(statistics: Statistics, cell: Cell) -> dict[str, float]:
    """Return the number of images that a cell uses, and quantiles of the samples of each."""
    uses = statistics.uses(cell)
    # 95 % over 5 %: near 1 if the sampler uses all images equally often.
    spread = _quantiles(uses)
    ratio = round(spread["95%"] / spread["5%"], 2) if uses.size else 0.0
    unused = statistics.unused(cell)
    return {"images": uses.size, "unused": unused, **spread, "most": int(uses.max(initial=0)),
            "95%/5%": ratio}  # fmt: skip


def _words(statistics: Statistics, task: str) -> dict[str, float]:
    """Return mean and quantiles of the number of words in a task's answers."""
    counted = statistics.words[task]
    # One value an answer, because `np.quantile` interpolates only between unweighted values.
    words = np.repeat(np.array(list(counted), np.int64), np.array(list(counted.values())))
    return {"answers": words.size, "mean": round(float(words.mean()), 2), **_quantiles(words)}


def paper_rows(statistics: Statistics) -> list[tuple[str, str, str, str]]:
    """Return (figure, published value, value here, where it was published) of every comparison.

    The published values are the authors' own, and one that follows from them (`_DERIVED`).
    """
    samples = sum(statistics.samples.values())
    images = sum(statistics.images.values())
    uses = sum(size * number for size, number in statistics.sizes.items())
    sources = sorted({source for _, source in statistics.images})
    benchmark = sum(
        sum(tasks.values()) for tasks in statistics.manifest["benchmark"].get("counts", {}).values()
    )
    sizes = ", ".join(str(size) for size in sorted(statistics.sizes))
    # The dataset card describes PartImageNet's train split only.
    train = statistics.entity_counts.get(("partimagenet", "train"), EntityCounts())
    mean = f"{train.parts / len(train.images):.2f}" if train.images else "0"
    return [
        ("samples", "~2.4M", f"{samples:,}", _PAPER),
        ("images", "~44K", f"{images:,}", _PAPER),
        ("images per sample", "2", sizes, _PAPER),
        ("uses of an image, mean", "~109", f"{uses / max(images, 1):.1f}", _DERIVED),
        ("sources", "PACO-LVIS, PartImageNet, ADE20K-Part-234", ", ".join(sources), _PAPER),
        ("balanced test pairs", "~1K", f"{benchmark:,}", _PAPER),
        ("PartImageNet train: images", "17.3K", f"{len(train.images):,}", _CARD),
        ("PartImageNet train: objects", "17.3K", f"{train.objects:,}", _CARD),
        ("PartImageNet train: parts", "80.7K", f"{train.parts:,}", _CARD),
        ("PartImageNet train: parts an image", "4.66", mean, _CARD),
        ("PartImageNet train: object classes", "126", str(len(train.classes)), _CARD),
        ("PartImageNet train: part categories", "31 (a name in a super-category)",
         f"{len(train.part_names)} names", _CARD),
    ]  # fmt: skip


def as_text(statistics: Statistics, most: int = 15) -> str:
    """Return the statistics as text tables; tables of names are cut after `most` rows."""
    values = values_of(statistics)
    made = " (synthetic)" if values["synthetic"] else ""
    blocks = [f"build {values['build_id']}{made}", "Samples\n" + _sample_table(statistics)]
    for title, key in (
        ("Samples an image is in, by source and task (images that none uses are `unused`)",
         "image_use"),
        ("Samples a class pair has, by source and task", "class_pair_use"),
        ("Share of the image that a mask covers, every mask once", "mask_share_of_image"),
        ("Sizes of masks as COCO names them: below 32² and 96² pixels, and larger", "mask_sizes"),
        ("Words of an answer", "answer_words"),
    ):  # fmt: skip
        blocks.append(f"{title}\n{_nested_table(values[key])}")
    for title, key in (
        ("Classes", "classes"), ("Parts", "parts"), ("Class pairs", "class_pairs"),
        ("Reasons of records that were not used", "rejects"),
    ):  # fmt: skip
        blocks.append(_name_table(title, values[key], most))
    head = ["figure", "published", "here", "where it was published"]
    note = "Beside the paper's dataset"
    if values["synthetic"]:
        note += " (synthetic images: the numbers here say nothing about real ones)"
    blocks.append(f"{note}\n{text_table(head, paper_rows(statistics))}")
    return "\n\n".join(blocks)


def _sample_table(statistics: Statistics) -> str:
    """Return the table of images and samples by source and split, with the sums."""
    tasks = [str(task) for task in Task]
    keys = sorted({(source, split) for split, source, _ in statistics.samples})
    rows = []
    for source, split in sorted(keys, key=lambda key: (key[0], SPLITS.index(key[1]))):
        numbers = [statistics.samples[split, source, task] for task in tasks]
        # The images of a pair of sources are counted under each of the two sources.
        images = "" if "+" in source else str(statistics.images.get((split, source), 0))
        rows.append([source, split, images, *map(str, (*numbers, sum(numbers)))])
    total = [sum(int(row[n] or 0) for row in rows) for n in range(2, 7)]
    rows.append(["all", "", *map(str, total)])
    return text_table(["source", "split", "images", *tasks, "together"], rows)


def _nested_table(values: dict[str, dict[str, float]]) -> str:
    """Return a table with a row for each key, and the columns of the first row."""
    columns: Sequence[str] = list(next(iter(values.values()), {}))
    rows = [
        [name, *(f"{numbers[column]:g}" if column in numbers else "-" for column in columns)]
        for name, numbers in values.items()
    ]
    return text_table(["", *columns], rows)


def _name_table(title: str, counts: dict[str, int], most: int) -> str:
    """Return a table of the first `most` names, and a line with the number of others."""
    rows = [[name, str(number)] for name, number in list(counts.items())[:most]]
    text = f"{title}: {len(counts)}\n" + text_table(["name", "number"], rows)
    if len(counts) > most:
        text += f"\n… and {len(counts) - most} more; all of them with --json"
    return text
