"""Samples and images of a build as training reads them."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from calico.dataset.pairs import BuiltDataset, SampleTable
from calico.dataset.sample import Sample
from calico.dataset.swap import swapped
from calico.training.setup import dataset_vocabulary
from mixedparts.errors import InputError
from mixedparts.storage import schema
from tests.factories.forger import damage
from tests.factories.micro_build import write_build

KEYS = ("id", "source", "split", "task", "question", "answer")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> BuiltDataset:
    """A build of two splits; do not write there."""
    folder = tmp_path_factory.mktemp("data") / "build"
    return BuiltDataset(write_build(folder, 6, ("train", "test")))


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
        with pytest.raises(InputError, match="train-1 contains an invalid mask"):
            read_back(plain_row(dataset, 0), row)

    def test_segs_without_masks_are_refused(self, dataset: BuiltDataset) -> None:
        row = plain_row(dataset)
        row["seg"].pop()
        with pytest.raises(InputError, match=r"train-1: the answer contains 4 \[SEG\] for 3 masks"):
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
        monkeypatch.setattr("calico.dataset.columns._CACHED_MASKS", 1)
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

    def test_a_damaged_picture_is_one_message(self, dataset: BuiltDataset, tmp_path: Path) -> None:
        build = Path(shutil.copytree(dataset.path, tmp_path / "build"))
        damage(build, "images/train-00000-of-00001.parquet", "image.bytes")
        table = BuiltDataset(build).images("train")
        with pytest.raises(InputError, match=r"images/train.* cannot be read"):
            table.read(0)

    def test_used_rows_by_split(self, dataset: BuiltDataset) -> None:
        assert dataset.pairs("train").image_rows() == {"train": [0, 1, 2, 3, 4, 5]}

    def test_an_unknown_split_names_those_there_are(self, dataset: BuiltDataset) -> None:
        with pytest.raises(InputError, match="Splits: train, test"):
            dataset.pairs("validation")

    def test_a_folder_without_tables_is_one_message(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="mixedparts build"):
            BuiltDataset(tmp_path)

    def test_a_cut_file_is_one_message(self, dataset: BuiltDataset, tmp_path: Path) -> None:
        broken = BuiltDataset(shutil.copytree(dataset.path, tmp_path / "build"))
        (file,) = (broken.path / "pairs").glob("train-*")
        file.write_bytes(file.read_bytes()[:200])
        with pytest.raises(InputError, match="train"):
            broken.pairs("train")


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
