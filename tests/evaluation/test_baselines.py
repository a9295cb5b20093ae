"""The trivial baseline by hand, from tables written to disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from calico.evaluation import baselines
from calico.evaluation.truth import read_truth
from calico.predictions import Segment
from mixedparts.errors import InputError, UsageError
from mixedparts.masks import Rle
from tests.evaluation.fabricate import HEIGHT, WIDTH, box, row, small_rows, truth, write_build

WHOLE = box(0, 0, WIDTH, HEIGHT)
SOME = box(0, 0, 4, 4)


def objects(first: str, second: str) -> list[tuple[str, int, Rle]]:
    return [(first, 0, SOME), (second, 1, SOME)]


def test_most_frequent_labels_and_median_numbers(tmp_path: Path) -> None:
    def parts(first: str, second: str) -> list[tuple[str, int, Rle]]:
        return [(n, 0, SOME) for n in first.split()] + [(n, 1, SOME) for n in second.split()]

    rows = [
        row("1", objects("cat", "dog"), parts("head leg", ""), "unique_parts"),
        row("2", objects("cow", "dog"), parts("tail", "ear"), "unique_parts"),
        row("3", objects("cow", "cat"), parts("tail ear leg", ""), "unique_parts"),
        row("4", objects("cat", "ant"), parts("leg ear", "ear leg arm"), "unique_parts"),
        row("5", objects("bee", "bee"), (), "common_object"),
    ]
    found = baselines.most_frequent(write_build(tmp_path / "b", {"train": rows}, shards=2))
    assert found.labels == {
        ("common_object", 0): ("bee",),
        ("common_object", 1): ("bee",),
        # Image 0: cat and cow twice each (the alphabet decides); numbers of parts 2, 1, 3, 2:
        # median 2; leg three times, ear and tail twice each.
        ("unique_parts", 0): ("cat", "leg", "ear"),
        # Image 1: dog twice; numbers 0, 1, 0, 3: median 0.5, rounded up to 1; ear twice.
        ("unique_parts", 1): ("dog", "ear"),
    }
    sample = truth("s", [], "unique_parts")
    assert found.predict(sample).segments == tuple(
        Segment(label, image, WHOLE)
        for image, labels in enumerate((("cat", "leg", "ear"), ("dog", "ear")))
        for label in labels
    )
    assert found.predict(truth("s", [], "common_parts")).segments == ()


def test_no_train_split(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no split 'train'"):
        baselines.most_frequent(write_build(tmp_path / "b", {"test": small_rows()}))


def test_a_broken_train_shard(tmp_path: Path) -> None:
    build = write_build(tmp_path / "b", {"train": small_rows()})
    (shard,) = (build / "pairs").iterdir()
    shard.write_bytes(b"PAR1")
    with pytest.raises(InputError, match="cannot be read"):
        baselines.most_frequent(build)


def test_the_oracle_says_what_is_true(tmp_path: Path) -> None:
    build = write_build(tmp_path / "b", {"test": small_rows()})
    for sample in read_truth(build, "test").samples:
        assert baselines.oracle(sample).segments == sample.segments
