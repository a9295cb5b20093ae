"""Floors and ceilings by hand, from tables written to disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calico.evaluation.baselines import BASELINES
from calico.evaluation.ground_truth import SampleGroundTruth, read_ground_truth
from calico.evaluation.most_frequent import most_frequent
from calico.predictions.types import Segment
from mixedparts import masks
from mixedparts.errors import InputError, UsageError
from mixedparts.masks import Rle
from mixedparts.storage.build_folder import BuildFolder
from tests.factories.evaluation import HEIGHT, WIDTH, box, row, small_rows, truth, write_build

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
    found = most_frequent(BuildFolder.open(write_build(tmp_path / "b", {"train": rows}, shards=2)))
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
        most_frequent(BuildFolder.open(write_build(tmp_path / "b", {"test": small_rows()})))


def test_a_broken_train_shard(tmp_path: Path) -> None:
    build = write_build(tmp_path / "b", {"train": small_rows()})
    (shard,) = (build / "pairs").iterdir()
    shard.write_bytes(b"PAR1")
    with pytest.raises(InputError, match="cannot be read"):
        most_frequent(BuildFolder.open(build))


def answers(name: str, build: Path, *samples: SampleGroundTruth) -> list[tuple[Segment, ...]]:
    found = BASELINES[name](build, samples)
    assert [answer.id for answer in found] == [sample.id for sample in samples]
    return [answer.segments for answer in found]


def test_the_oracle_says_what_is_true(tmp_path: Path) -> None:
    samples = read_ground_truth(
        BuildFolder.open(write_build(tmp_path / "b", {"test": small_rows()})), "test"
    ).samples
    assert answers("oracle", tmp_path, *samples) == [sample.segments for sample in samples]


def test_boxes_keep_labels_and_images(tmp_path: Path) -> None:
    bent = masks.union([box(1, 2, 6, 1), box(1, 2, 1, 4)])
    empty = box(0, 0, 0, 0)
    sample = truth(
        "s", [Segment("cup", 0, bent), Segment("cup", 1, WHOLE), Segment("lid", 1, empty)]
    )
    assert answers("boxes", tmp_path, sample) == [
        (Segment("cup", 0, box(1, 2, 6, 4)), Segment("cup", 1, WHOLE), Segment("lid", 1, empty))
    ]


def test_wrong_labels_are_never_right_and_keep_the_masks(tmp_path: Path) -> None:
    one = truth("1", [Segment("cat", 0, SOME), Segment("cat", 1, WHOLE), Segment("ear", 0, SOME)])
    two = truth("2", [Segment("dog", 0, SOME), Segment("ear", 1, SOME)])
    # The alphabet: cat, dog, ear. cat -> dog; ear -> (cat is the sample's own) dog. Sample 2: both
    # give way to cat.
    assert answers("wrong-labels", tmp_path, one, two) == [
        (Segment("dog", 0, SOME), Segment("dog", 1, WHOLE), Segment("dog", 0, SOME)),
        (Segment("cat", 0, SOME), Segment("cat", 1, SOME)),
    ]
    alone = answers("wrong-labels", tmp_path, truth("3", [Segment("cat", 0, SOME)]))
    assert alone[0][0].label not in ("cat", "")


def test_the_other_image_is_answered_stretched(tmp_path: Path) -> None:
    twice = masks.from_dense(np.kron(masks.decode(SOME), np.ones((2, 2), np.uint8)))
    sample = replace(
        truth("s", [Segment("cup", 0, SOME), Segment("pan", 1, twice)]),
        sizes=((HEIGHT, WIDTH), (2 * HEIGHT, 2 * WIDTH)),
    )
    assert answers("other-image", tmp_path, sample) == [
        (Segment("cup", 1, twice), Segment("pan", 0, SOME))
    ]


def test_a_centre_on_a_border_is_stretched_by_our_own_rule(tmp_path: Path) -> None:
    """The centre of pixel 15 of 31 lies between two pixels; it takes the right or lower one."""
    corner = masks.from_dense(np.array([[1, 0], [0, 0]]))
    sample = replace(
        truth("s", [Segment("cup", 0, corner), Segment("pan", 1, corner)]),
        sizes=((2, 2), (15, 31)),
    )
    expected = np.zeros((15, 31), np.uint8)
    expected[:7, :15] = 1
    ((cup, _),) = answers("other-image", tmp_path, sample)
    np.testing.assert_array_equal(masks.decode(cup.mask), expected)


def test_most_frequent_is_among_the_baselines(tmp_path: Path) -> None:
    build = write_build(tmp_path / "b", {"train": small_rows(), "test": small_rows()})
    samples = read_ground_truth(BuildFolder.open(build), "test").samples
    constant = most_frequent(BuildFolder.open(build))
    expected = [constant.predict(sample).segments for sample in samples]
    assert answers("most-frequent", BuildFolder.open(build), *samples) == expected
