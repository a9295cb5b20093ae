"""Reading samples and pictures of a build, and what training does with them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from calico.dataset.pairs import BuiltDataset, SampleTable
from calico.dataset.sample import Sample
from calico.dataset.sampler import Sampler
from calico.dataset.swap import swapped
from calico.optim.schedule import rate_factor
from calico.pretraining.image_entities import gather_entities
from calico.pretraining.label_maps import UNKNOWN, augmented, label_set, labelled_images
from calico.processing.images import ImageProcessor
from calico.training.vocabulary import dataset_vocabulary
from mixedparts.errors import InputError
from mixedparts.masks import area
from mixedparts.progress import Silent
from mixedparts.storage import schema
from tests.calico.factory import micro_config, write_build

KEYS = ("id", "source", "split", "task", "question", "answer")


@pytest.fixture
def dataset(tmp_path: Path) -> BuiltDataset:
    return BuiltDataset(write_build(tmp_path / "build", 6, ("train", "test")))


def plain_row(dataset: BuiltDataset, place: int = 1) -> dict[str, Any]:
    row: dict[str, Any] = dataset.pairs("train").table.slice(place, 1).to_pylist()[0]
    return row


def read_back(*rows: dict[str, Any]) -> list[Sample]:
    return SampleTable(pa.Table.from_pylist(list(rows), schema=schema.PAIRS))[:]


class TestSamples:
    def test_targets_follow_the_segs_of_the_answer(self, dataset: BuiltDataset) -> None:
        sample = dataset.pairs("train")[2]
        assert sample.task == "unique_parts"
        assert [(t.label, t.image) for t in sample.targets] == [
            ("kettle", 0),
            ("mug", 1),
            ("handle", 0),
            ("lid", 1),
        ]

    def test_swapping_moves_tags_masks_and_pictures_together(self, dataset: BuiltDataset) -> None:
        sample = dataset.pairs("train")[2]
        turned = swapped(sample)
        assert turned.images == sample.images[::-1]
        assert [t.image for t in turned.targets] == [0, 1, 0, 1]
        assert [t.mask for t in turned.targets] == [sample.targets[at].mask for at in (1, 0, 3, 2)]
        assert "<p> a kettle </p> [SEG] (IMAGE2)" in turned.answer
        assert "<p> a mug </p> [SEG] (IMAGE1)" in turned.answer
        assert swapped(turned) == sample

    def test_a_broken_mask_names_the_sample(self, dataset: BuiltDataset) -> None:
        row = plain_row(dataset)
        row["objects"][0]["mask"]["counts"] = "~~"
        with pytest.raises(InputError, match="train-1 holds a mask that is none"):
            read_back(plain_row(dataset, 0), row)

    def test_segs_without_masks_are_refused(self, dataset: BuiltDataset) -> None:
        row = plain_row(dataset)
        row["seg"].pop()
        with pytest.raises(InputError, match=r"train-1: the answer holds 4 \[SEG\] for 3 masks"):
            read_back(row)

    @pytest.mark.parametrize("seg", [{"index": -1}, {"index": 2}, {"kind": "picture"}])
    def test_segs_that_mean_nothing_are_refused(
        self, dataset: BuiltDataset, seg: dict[str, Any]
    ) -> None:
        row = plain_row(dataset)
        row["seg"][0].update(seg)
        with pytest.raises(InputError, match=r"train-1: a \[SEG\] means"):
            read_back(row)

    def test_regions_of_an_image_that_is_not_there_are_refused(self, dataset: BuiltDataset) -> None:
        row = plain_row(dataset)
        row["parts"][0]["image"] = 2
        with pytest.raises(InputError, match="train-1 has a region of an image"):
            read_back(row)

    @pytest.mark.parametrize(
        ("name", "message"), [("answer", "rows without 'answer'"), ("objects", "means object 0")]
    )
    def test_cells_without_a_value_are_one_message(
        self, dataset: BuiltDataset, name: str, message: str
    ) -> None:
        row = plain_row(dataset)
        row[name] = None
        with pytest.raises(InputError, match=message):
            read_back(row)

    def test_missing_columns_and_sizes_are_one_message(self, dataset: BuiltDataset) -> None:
        table = dataset.pairs("train").table
        with pytest.raises(InputError, match="no column 'seg'"):
            SampleTable(table.drop_columns(["seg"]))[0]
        row = plain_row(dataset)
        row["objects"][0]["mask"]["size"] = [3]
        with pytest.raises(InputError, match="not height and width"):
            read_back(row)

    def test_masks_that_are_forgotten_are_read_again(
        self, dataset: BuiltDataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expected = dataset.pairs("train")[:]
        monkeypatch.setattr("calico.dataset.columns._KEPT_MASKS", 1)
        assert dataset.pairs("train").take([5, 0, 5, 1]) == [expected[n] for n in (5, 0, 5, 1)]

    @pytest.mark.parametrize("start", [0, 1, 5])
    @pytest.mark.parametrize("chunk", [1, 2, 4, 6])
    def test_rows_are_what_the_table_says_however_it_is_cut(
        self, dataset: BuiltDataset, start: int, chunk: int
    ) -> None:
        table = dataset.pairs("train").table
        rows = table.to_pylist()[start:]
        pairs = SampleTable(
            pa.concat_tables([table.slice(n, chunk) for n in range(start, 6, chunk)])
        )
        assert len(pairs) == len(rows)
        order = [*range(len(rows)), 0, len(rows) - 1]
        for index, sample in zip(order, pairs.take(order), strict=True):
            assert plain_sample(sample) == plain_cells(rows[index])


def plain_cells(row: dict[str, Any]) -> dict[str, Any]:
    """Return of a row what its sample holds."""

    def plain(item: dict[str, Any]) -> tuple[Any, ...]:
        return item.get("category", item.get("name")), item["image"], item["mask"]

    lists = {"object": row["objects"], "part": row["parts"]}
    kept = {key: row[key] for key in (*KEYS, "images")}
    return kept | {
        "regions": list(map(plain, (*row["objects"], *row["parts"]))),
        "targets": [plain(lists[seg["kind"]][seg["index"]]) for seg in row["seg"]],
    }


def plain_sample(sample: Sample) -> dict[str, Any]:
    """Return a sample in the words of its row."""

    def plain(region: Any) -> tuple[Any, ...]:
        height, width, counts = region.mask
        return region.label, region.image, {"size": [height, width], "counts": counts.decode()}

    images = [
        {name: getattr(ref, name) for name in ("image_id", "row", "file_name", "width", "height")}
        for ref in sample.images
    ]
    return {key: getattr(sample, key) for key in KEYS} | {
        "images": images,
        "regions": list(map(plain, sample.regions)),
        "targets": list(map(plain, sample.targets)),
    }


class TestTables:
    def test_pictures_are_read_by_row_in_any_order(self, dataset: BuiltDataset) -> None:
        table = dataset.images("train")
        assert table.rows == 6
        for row in (5, 0, 4, 1):
            assert hashlib.sha256(table.read(row)).hexdigest() == table.digest(row)

    def test_rows_that_do_not_exist_are_one_message(self, dataset: BuiltDataset) -> None:
        with pytest.raises(InputError, match="row 9"):
            dataset.images("train").read(9)

    def test_used_rows_by_split(self, dataset: BuiltDataset) -> None:
        assert dataset.pairs("train").image_rows() == {"train": [0, 1, 2, 3, 4, 5]}

    def test_an_unknown_split_names_those_there_are(self, dataset: BuiltDataset) -> None:
        with pytest.raises(InputError, match="Splits: test, train"):
            dataset.pairs("validation")

    def test_a_folder_without_tables_is_one_message(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="mixedparts build"):
            BuiltDataset(tmp_path)

    def test_a_cut_file_is_one_message(self, dataset: BuiltDataset) -> None:
        (file,) = (dataset.path / "pairs").glob("train-*")
        file.write_bytes(file.read_bytes()[:200])
        with pytest.raises(InputError, match="train"):
            dataset.pairs("train")


class TestImagesOfASample:
    def test_they_are_counted(self, dataset: BuiltDataset) -> None:
        assert dataset.pairs("train").images_per_sample == 2

    @pytest.mark.parametrize(("dropped", "message"), [(1, "1, 2 images"), (6, "have 1 images")])
    def test_unequal_or_single_images_are_one_message(
        self, dataset: BuiltDataset, dropped: int, message: str
    ) -> None:
        rows = dataset.pairs("train").table.to_pylist()
        for row in rows[:dropped]:
            row["images"].pop()
        table = SampleTable(pa.Table.from_pylist(rows, schema=schema.PAIRS))
        with pytest.raises(InputError, match=message):
            list(dataset_vocabulary(table))


class TestLabels:
    def test_maps_hold_objects_and_parts(self, dataset: BuiltDataset) -> None:
        entities = gather_entities(dataset.pairs("train"))
        labels = label_set(entities.values())
        assert labels.classes == ("kettle", "mug")
        assert labels.parts == ("handle", "lid")
        processor = ImageProcessor(micro_config())
        images = labelled_images(dataset, "train", entities, labels, processor, Silent())
        for row, image in zip(sorted(entities), images, strict=True):
            height, width = image.pixels.size
            for entity in entities[row].values():
                share = area(entity.mask) / (height * width)
                assert abs((image.direct[0] > 0).mean() - share) < 0.05
            inside = image.direct[1] > 0
            assert np.array_equal(inside, image.direct[0] > 0)

    def test_what_a_pair_leaves_out_is_concluded(self, dataset: BuiltDataset) -> None:
        """Row 2 says: the handle is on image 2 only, the lid on image 3 only."""
        entities = gather_entities([dataset.pairs("train")[2]])
        kettle, mug = entities[2]["kettle"], entities[3]["mug"]
        assert (kettle.parts.keys(), kettle.absent) == ({"handle"}, {"lid"})
        assert (mug.parts.keys(), mug.absent) == ({"lid"}, {"handle"})

    def test_a_part_named_as_common_elsewhere_must_be_shown(self, dataset: BuiltDataset) -> None:
        """If image 3 is known to have a foot that is not unique, image 2 has one too."""
        unique = dataset.pairs("train")[2]
        lid = next(one for one in unique.regions if one.label == "lid")
        foot = replace(lid, label="foot")
        other = replace(unique, id="other", task="common_parts", regions=(*unique.regions, foot))
        entities = gather_entities([unique, replace(other, images=unique.images[1:] * 2)])
        assert "foot" in entities[3]["mug"].parts
        assert "foot" in entities[2]["kettle"].unmasked

    def test_pixels_of_unlisted_parts_teach_nothing(self, dataset: BuiltDataset) -> None:
        samples = [dataset.pairs("train")[place] for place in (2, 4)]
        entities = gather_entities(samples)
        labels = label_set(entities.values())
        processor = ImageProcessor(micro_config())
        images = labelled_images(dataset, "train", entities, labels, processor, Silent())
        by_row = dict(zip(sorted(entities), images, strict=True))
        assert not (by_row[2].direct[1] == UNKNOWN).any(), "row 2 says all about its images"
        assert (by_row[4].direct[1] == UNKNOWN).any(), "row 4 says nothing about a handle"
        numbers = {pair: index for index, pair in enumerate(labels.pairs)}
        kettle = labels.classes.index("kettle")
        handle, lid = (numbers[kettle, labels.parts.index(name)] for name in ("handle", "lid"))
        assert [by_row[2].truth[index] for index in (handle, lid)] == [1, 0]
        assert [by_row[4].truth[index] for index in (handle, lid)] == [-1, 1]

    def test_labels_move_with_the_pixels(self, dataset: BuiltDataset) -> None:
        entities = gather_entities(dataset.pairs("train"))
        labels = label_set(entities.values())
        processor = ImageProcessor(micro_config())
        image = labelled_images(dataset, "train", entities, labels, processor, Silent())[0]
        moved = augmented(image, np.array([0.9, 0.9, 0.1, 0.8]))
        bright = moved.pixels.vision.max(-1) > 120
        assert (bright == (moved.direct[0] > 0)).mean() > 0.9
        assert not np.array_equal(moved.direct, image.direct)


class TestSchedule:
    def test_every_sample_comes_once_an_epoch(self) -> None:
        sampler = Sampler(10, 5, seed=3)
        first = np.concatenate([sampler.batch(0), sampler.batch(1)])
        second = np.concatenate([sampler.batch(2), sampler.batch(3)])
        assert sorted(first) == sorted(second) == list(range(10))
        assert not np.array_equal(first, second)

    def test_a_step_does_not_depend_on_the_way_there(self) -> None:
        one, other = Sampler(11, 4, seed=3), Sampler(11, 4, seed=3)
        for step in range(7):
            one.batch(step)
        assert np.array_equal(one.batch(7), other.batch(7))

    def test_batches_of_like_length_still_show_every_sample_once(self) -> None:
        lengths = np.random.default_rng(0).integers(5, 90, 96)
        sampler = Sampler(96, 8, seed=1, lengths=lengths)
        batches = [sampler.batch(step) for step in range(12)]
        assert sorted(np.concatenate(batches)) == list(range(96))
        spread = np.mean([np.ptp(lengths[batch]) for batch in batches])
        assert spread < 0.3 * np.ptp(lengths)
        firsts = [lengths[batch].min() for batch in batches]
        assert firsts != sorted(firsts)

    def test_few_samples_are_repeated(self) -> None:
        assert len(Sampler(2, 5, seed=0).batch(0)) == 5

    @pytest.mark.parametrize("kind", ["linear", "cosine"])
    def test_the_rate_rises_and_falls_to_zero(self, kind: str) -> None:
        rates = [rate_factor(step, 100, 10, kind) for step in range(101)]
        assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
        assert rates[10] == pytest.approx(1.0)
        assert all(later <= earlier for earlier, later in pairwise(rates[10:]))
        assert rates[100] == pytest.approx(0.0, abs=1e-9)
