"""Pixels are read when they are used, from any split, on disk or as a stream."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from PIL import Image

from mixedparts.errors import InputError, UsageError
from mixedparts.loading import ImageEntry, load_dataset, pixels
from mixedparts.loading.image_shards import ImageShards
from tests.oracles.build_tables import iter_rows


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The name of every image that is decoded."""
    names: list[str] = []
    decode = pixels.rgb_image

    def counted(data: bytes, name: str) -> Image.Image:
        names.append(name)
        return decode(data, name)

    monkeypatch.setattr(pixels, "rgb_image", counted)
    return names


def test_filter_and_map_without_pixels_decode_none(built: Path, opened: list[str]) -> None:
    rows = load_dataset(built, split="test")
    kept = rows.filter(lambda row: row["task"] == "common_parts", load_from_cache_file=False)
    assert 0 < len(kept) < len(rows)
    counted = kept.map(lambda row: {"parts_shown": len(row["parts"])}, load_from_cache_file=False)
    assert counted["parts_shown"] == [len(row["parts"]) for row in kept]
    assert [ref["width"] for row in counted for ref in row["images"]]
    assert opened == []
    # The new rows have their pixels too.
    entry = counted[0]["images"][1]
    assert entry["pixels"].size == (entry["width"], entry["height"])
    assert len(opened) == 1


def test_map_with_pixels_gets_them(built: Path, opened: list[str]) -> None:
    rows = load_dataset(built, split="test").select(range(4))
    means = rows.map(
        lambda row: {"mean": float(np.mean([np.mean(r["pixels"]) for r in row["images"]]))},
        load_from_cache_file=False,
    )
    for row in means:
        assert row["mean"] == pytest.approx(
            np.mean([np.asarray(ref["pixels"]).mean() for ref in row["images"]])
        )
    assert opened


@pytest.mark.parametrize("split", ["train[2:5]", "test[-3:]+train[:2]", "benchmark[:2]+validation"])
def test_expressions_of_splits_show_their_own_images(built: Path, split: str) -> None:
    stored = {
        name: {row["image_id"]: row for row in iter_rows(built, "images", name)}
        for name in ("train", "validation", "test")
    }
    for row in load_dataset(built, split=split):
        for ref in row["images"]:
            data = stored[row["split"]][ref["image_id"]]["image"]["bytes"]
            assert (np.asarray(ref["pixels"]) == np.asarray(decoded(data))).all()


def decoded(data: bytes) -> Image.Image:
    from mixedparts.images.opening import rgb_image

    return rgb_image(data, "stored")


def test_rows_of_two_splits_need_their_split(built: Path) -> None:
    rows = load_dataset(built, split="test[:1]+train[:1]").remove_columns("split")
    with pytest.raises(UsageError, match="need the column `split`"):
        rows[0]


class TestStreaming:
    def test_rows_and_pixels_equal_those_on_disk(self, built: Path, opened: list[str]) -> None:
        stream = load_dataset(built, split="test", streaming=True)
        plain = load_dataset(built, split="test")
        for streamed, row in zip(stream.take(6), plain, strict=False):
            assert streamed == row
            assert opened == []
        for streamed, row in zip(stream.take(3), plain, strict=False):
            for one, other in zip(streamed["images"], row["images"], strict=True):
                assert (np.asarray(one["pixels"]) == np.asarray(other["pixels"])).all()

    def test_all_splits(self, built: Path) -> None:
        streams = load_dataset(built, streaming=True)
        assert set(streams) == {"train", "validation", "test", "benchmark"}
        for name, stream in streams.items():
            first = next(iter(stream))
            assert first["id"] == next(iter_rows(built, "pairs", name))["id"]
            assert first["images"][0]["pixels"].mode == "RGB"

    def test_other_configs_and_no_pixels(self, built: Path) -> None:
        assert "pixels" not in next(iter(load_dataset(built, split="test", pixels=False,
                                                      streaming=True)))["images"][0]  # fmt: skip
        assert next(iter(load_dataset(built, "images", "test", streaming=True)))["row"] == 0
        with pytest.raises(UsageError, match="Did you mean 'train'"):
            load_dataset(built, split="trian", streaming=True)

    def test_it_is_filtered_and_shuffled(self, built: Path, opened: list[str]) -> None:
        stream = load_dataset(built, split="train", streaming=True)
        shuffled = stream.shuffle(seed=1, buffer_size=20).filter(
            lambda row: row["source"] == "paco"
        )
        wanted = {r["id"] for r in iter_rows(built, "pairs", "train") if r["source"] == "paco"}
        assert {row["id"] for row in shuffled} == wanted
        assert opened == []


class TestShards:
    def test_rows_over_several_files(self, tmp_path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = [{"row": n, "image_id": f"i{n}", "image": {"bytes": b"x" * n, "path": None}}
                for n in range(25)]  # fmt: skip
        files = []
        for at, (start, stop) in enumerate([(0, 7), (7, 8), (8, 25)]):
            files.append(str(tmp_path / f"{at}.parquet"))
            pq.write_table(pa.Table.from_pylist(rows[start:stop]), files[-1], row_group_size=3)
        shards = ImageShards(files, opened_file)
        for number in (24, 0, 7, 6, 8, 12, 24):
            assert shards[number] == rows[number]
        for number in (25, -1):
            with pytest.raises(InputError, match=f"shows row {number} of images; there are 25"):
                shards[number]

    def test_a_file_that_is_none_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "a.parquet").write_bytes(b"nothing")
        shards = ImageShards([str(tmp_path / "a.parquet")], opened_file)
        with pytest.raises(InputError, match=r"a\.parquet cannot be read"):
            shards[0]


def opened_file(path: str) -> BinaryIO:
    return Path(path).open("rb")


class TestEntry:
    @staticmethod
    def entry() -> ImageEntry:
        return ImageEntry({"row": 3, "file_name": "a.jpg"}, image_of)

    def test_it_is_the_dictionary_with_pixels(self) -> None:
        entry = self.entry()
        assert isinstance(entry, dict)
        assert list(entry) == list(entry.keys()) == ["row", "file_name", "pixels"]
        assert len(entry) == 3
        assert "pixels" in entry
        assert entry.get("pixels").size == (3, 1)
        assert entry["pixels"] is entry["pixels"]
        assert dict(entry)["pixels"].size == {**entry}["pixels"].size == (3, 1)
        assert list(entry.values())[:2] == [3, "a.jpg"]
        assert dict(entry.items())["file_name"] == "a.jpg"
        with pytest.raises(KeyError, match="pixel"):
            entry["pixel"]
        assert entry.get("pixel", 1) == 1

    def test_pixels_can_be_removed(self) -> None:
        for remove in (lambda e: e.pop("pixels"), lambda e: e.__delitem__("pixels")):
            entry = self.entry()
            remove(entry)
            assert "pixels" not in entry
            assert dict(entry) == {"row": 3, "file_name": "a.jpg"} == entry
            with pytest.raises(KeyError):
                entry["pixels"]

    def test_comparing_printing_and_copying_read_nothing(self) -> None:
        entry = ImageEntry({"row": 3}, unread)
        assert entry == ImageEntry({"row": 3}, unread)
        assert entry != ImageEntry({"row": 4}, unread)
        assert repr(entry) == "{'row': 3, 'pixels': …}"
        assert repr(entry.copy()) == repr(pickle.loads(pickle.dumps(entry))) == repr(entry)

    def test_a_notebook_shows_it(self) -> None:
        entry = ImageEntry({"row": 3, "file_name": "<a>.jpg", "width": 3, "height": 1}, image_of)
        html = entry._repr_html_()
        assert "data:image/png;base64," in html
        assert "&lt;a&gt;.jpg, 3 x 1" in html


def image_of(row: int) -> Image.Image:
    return Image.new("RGB", (row, 1))


def unread(row: int) -> Any:
    raise AssertionError(row)
