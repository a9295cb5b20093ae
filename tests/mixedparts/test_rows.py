"""Rows of `load_dataset` in notebooks, on disk, in other processes, and expressions of splits."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path

import datasets
import numpy as np
import pytest

import mixedparts
from mixedparts.errors import InputError, UsageError
from mixedparts.loading import load_dataset
from mixedparts.loading.rows import Row, stored_images
from tests.factories.forger import damage, rewrite
from tests.oracles.build_tables import iter_rows

# Reads pixels of rows that another process saved or pickled. A pickle brings the format with it.
CHILD = """
import sys, pickle, numpy, datasets
kind, path = sys.argv[1:]
if kind == "disk":
    import mixedparts.loading
    rows = datasets.load_from_disk(path)
else:
    rows = pickle.load(open(path, "rb"))
print([int(numpy.asarray(e["pixels"]).sum()) for r in rows for e in r["images"]])
"""


def sums(rows: datasets.Dataset) -> list[int]:
    return [int(np.asarray(e["pixels"]).sum()) for row in rows for e in row["images"]]


class TestNotebook:
    def test_a_row_is_a_dictionary_with_a_picture(self, built: Path) -> None:
        rows = load_dataset(built, split="test")
        for row in (rows[0], next(iter(rows)), rows.select([3])[0], rows.shuffle(seed=1)[0]):
            assert isinstance(row, Row)
            html = row._repr_html_()
            assert html is not None
            assert html.count("data:image/png;base64,") == 1
            assert f"{row['source']} · {row['split']} · {row['task']} · {row['id']}" in html
        kept = rows.filter(lambda row: row["task"] == "unique_parts")
        assert kept[0]._repr_html_() is not None

    def test_a_row_without_its_columns_is_shown_as_text(self, built: Path) -> None:
        rows = load_dataset(built, split="test")
        assert rows.select_columns(["id", "task"])[0]._repr_html_() is None
        row = rows[0]
        del row["images"][0]["pixels"]
        assert row._repr_html_() is None


class TestOtherPlaces:
    def test_rows_are_saved_and_loaded(self, built: Path, tmp_path: Path) -> None:
        rows = load_dataset(built, split="train+test").select([0, 1, -1 % 20])
        rows.save_to_disk(tmp_path / "saved")
        again = datasets.load_from_disk(tmp_path / "saved")
        assert list(again) == list(rows)
        assert sums(again) == sums(rows)

    @pytest.mark.parametrize("kind", ["disk", "pickle"])
    def test_a_new_process_reads_their_pixels(
        self, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        monkeypatch.chdir(built.parent)
        rows = load_dataset(f"./{built.name}", split="test").select([1, 4])
        if kind == "disk":
            rows.save_to_disk(tmp_path / "rows")
        else:
            (tmp_path / "rows").write_bytes(pickle.dumps(rows))
        # In another folder: the rows know where their build is.
        done = subprocess.run(
            [sys.executable, "-c", CHILD, kind, str(tmp_path / "rows")],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == str(sums(rows))

    def test_two_processes_filter_and_map_by_pixels(self, built: Path) -> None:
        rows = load_dataset(built, split="test").select(range(12))
        mapped = rows.map(lambda row: {"sum": sums([row])}, num_proc=2)
        assert mapped["sum"][:] == [sums([row]) for row in rows]
        wide = rows.filter(lambda r: r["images"][0]["pixels"].width > 100, num_proc=2)
        assert wide["id"][:] == [r["id"] for r in rows if r["images"][0]["width"] > 100]

    def test_pixels_of_another_build_are_not_taken(self, built: Path, tmp_path: Path) -> None:
        copy = Path(shutil.copytree(built, tmp_path / "copy"))
        rows = load_dataset(copy, split="test").select([0])
        rows.save_to_disk(tmp_path / "saved")
        manifest = (copy / "manifest.json").read_text()
        identity = load_dataset(copy, split="test").format["format_kwargs"]["build"]
        (copy / "manifest.json").write_text(manifest.replace(identity, "f" * len(identity)))
        stored_images.cache_clear()
        row = datasets.load_from_disk(tmp_path / "saved")[0]
        with pytest.raises(InputError, match="contains another build"):
            row["images"][0]["pixels"]


class TestSplits:
    @pytest.mark.parametrize("streaming", [False, True])
    @pytest.mark.parametrize(
        ("split", "wanted"),
        [
            ("train[:10%]", [("train", 0.0, 0.1)]),
            ("train[50%:]+test", [("train", 0.5, 1.0), ("test", 0.0, 1.0)]),
            (
                "all",
                [(name, 0.0, 1.0) for name in ("train", "validation", "test", "benchmark")],
            ),
            (datasets.ReadInstruction("test", to=50, unit="%"), [("test", 0.0, 0.5)]),
            (datasets.Split.TEST, [("test", 0.0, 1.0)]),
        ],
    )
    def test_expressions(
        self, built: Path, streaming: bool, split: str, wanted: list[tuple[str, float, float]]
    ) -> None:
        ids = []
        for name, start, stop in wanted:
            every = [row["id"] for row in iter_rows(built, "pairs", name)]
            ids += every[round(start * len(every)) : round(stop * len(every))]
        rows = load_dataset(built, split=split, streaming=streaming)
        assert [row["id"] for row in rows] == ids
        first = next(iter(rows))["images"][0]
        assert first["pixels"].size == (first["width"], first["height"])

    @pytest.mark.parametrize("streaming", [False, True])
    def test_several_splits_are_a_list(self, built: Path, streaming: bool) -> None:
        rows = load_dataset(built, split=["test", "train[:3]"], streaming=streaming)
        assert [next(iter(one))["split"] for one in rows] == ["test", "train"]
        assert len(list(rows[1])) == 3

    @pytest.mark.parametrize("streaming", [False, True])
    @pytest.mark.parametrize(
        ("split", "says"),
        [
            ("trian", "Did you mean 'train'"),
            ("train[:5]+tset", "no split 'tset'. Did you mean 'test'"),
            ("train[:x]", "expression of splits 'train.*' cannot be used"),
            (7, "a split is a text such as 'train.*', not int"),
        ],
    )
    def test_wrong_ones_are_named(
        self, built: Path, streaming: bool, split: str, says: str
    ) -> None:
        with pytest.raises(UsageError, match=says):
            load_dataset(built, split=split, streaming=streaming)


class TestStreams:
    def test_a_stream_goes_on_where_it_was(self, built: Path) -> None:
        stream = load_dataset(built, split="train", streaming=True)
        rows = iter(stream)
        list(islice(rows, 5))
        state = stream.state_dict()
        after = [row["id"] for row in islice(rows, 4)]
        again = load_dataset(built, split="train", streaming=True)
        again.load_state_dict(state)
        assert [row["id"] for row in islice(again, 4)] == after

    def test_workers_of_a_data_loader_read_every_row_once(self, built: Path) -> None:
        torch_data = pytest.importorskip("torch.utils.data")
        stream = load_dataset(built, split="test", streaming=True)
        loader = torch_data.DataLoader(stream, batch_size=None, num_workers=2)
        seen = [(row["id"], row["images"][0]["pixels"].mode) for row in loader]
        assert sorted(seen) == sorted((r["id"], "RGB") for r in iter_rows(built, "pairs", "test"))


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`datasets` has prepared no build before."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.usefixtures("empty_cache")
class TestDamage:
    @pytest.mark.parametrize("streaming", [False, True])
    def test_a_file_that_is_none_is_named(
        self, built: Path, tmp_path: Path, streaming: bool
    ) -> None:
        copy = Path(shutil.copytree(built, tmp_path / "copy"))
        shard = copy / "pairs" / "test-00000-of-00001.parquet"
        shard.write_bytes(b"<!doctype html>" * 100)
        with pytest.raises(InputError, match=r"test-00000-of-00001\.parquet cannot be read"):
            load_dataset(copy, split="test", streaming=streaming)
        shard.unlink()
        with pytest.raises(InputError, match=r"test-00000-of-00001\.parquet"):
            load_dataset(copy, split="test", streaming=streaming)

    def test_a_damaged_page_is_named(self, built: Path, tmp_path: Path) -> None:
        copy = Path(shutil.copytree(built, tmp_path / "copy"))
        damage(copy, "pairs/train-00000-of-00001.parquet", "question")
        with pytest.raises(InputError, match=r"train-00000-of-00001\.parquet cannot be read"):
            load_dataset(copy, split="train")

    def test_a_mask_that_does_not_decode_is_not_drawn(self, built: Path, tmp_path: Path) -> None:
        copy = Path(shutil.copytree(built, tmp_path / "copy"))

        def broken(rows: list[dict[str, object]]) -> None:
            rows[0]["objects"][0]["mask"]["counts"] = "~~~~"  # type: ignore[index]

        rewrite(copy, broken)
        row = load_dataset(copy, split="train")[0]
        with pytest.raises(InputError, match=rf"row {row['id']} of train: the mask of '.*' cannot"):
            mixedparts.show(row).picture()
