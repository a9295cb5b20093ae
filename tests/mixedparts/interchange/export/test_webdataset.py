"""WebDataset shards, read by `webdataset` and by plain `datasets`, compared with the build.

`datasets` takes columns and types from the first five samples; what differs later fails or is lost.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from mixedparts.interchange.export import webdataset as writer
from mixedparts.interchange.export.request import ExportRequest, Format, Job
from mixedparts.interchange.export.rows import exported_rows
from mixedparts.interchange.export.run import export
from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.progress import Silent
from tests.factories.coco_parts import write_coco_parts
from tests.oracles.build_tables import iter_rows

wds = pytest.importorskip("webdataset")
Row = dict[str, Any]
SPLITS = ("train", "validation", "test")
COUNTS = {"train": 24, "validation": 6, "test": 6}


def exported(folder: Path, out: Path, **choices: Any) -> Path:
    export(ExportRequest(folder, Format.WEBDATASET, out, **choices), Silent())
    return out


def shards(out: Path, split: str) -> list[str]:
    return sorted(map(str, out.glob(f"{split}-*.tar")))


def by_webdataset(out: Path, split: str) -> Iterator[Row]:
    return iter(wds.WebDataset(shards(out, split), shardshuffle=False))


def by_datasets(out: Path, splits: tuple[str, ...], cache: Path) -> datasets.DatasetDict:
    files = {split: shards(out, split) for split in splits}
    return datasets.load_dataset("webdataset", data_files=files, cache_dir=str(cache))


def stored(folder: Path, split: str) -> dict[int, bytes]:
    return {row["row"]: row["image"]["bytes"] for row in iter_rows(folder, "images", split)}


def expected(row: Row) -> Row:
    """Return a row as the JSON of a sample has it, without `images`."""
    classes = {item["image"]: item["category"] for item in row["objects"]}
    regions = [item | {"kind": "object", "name": item["category"]} for item in row["objects"]]
    regions += [part | {"category": classes[part["image"]]} for part in row["parts"]]
    start = {"object": 0, "part": len(row["objects"])}
    seg = [start[item["kind"]] + item["index"] for item in row["seg"]]
    kept = {key: row[key] for key in ("id", "source", "split", "task", "question", "answer")}
    return kept | {"regions": regions, "seg": seg}


def without_images(content: Row) -> Row:
    return {key: value for key, value in content.items() if key != "images"}


def pixels(data: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_shards_hold_rows_and_pixels(built: Path, tmp_path: Path) -> None:
    out = exported(built, tmp_path / "wds", splits=("test",), shard_rows=40)
    rows = {row["id"]: row for row in iter_rows(built, "pairs", "test")}
    assert len(shards(out, "test")) == -(-len(rows) // 40) > 1
    bytes_of = stored(built, "test")
    found = list(by_webdataset(out, "test"))
    assert [sample["__key__"] for sample in found] == list(rows)
    for sample in found:
        row = rows[sample["__key__"]]
        content = json.loads(sample["json"])
        assert without_images(content) == expected(row)
        assert content["images"] == [ref | {"format": "jpg"} for ref in row["images"]]
        members = [sample[f"image{n}.jpg"] for n in range(1, len(row["images"]) + 1)]
        assert members == [bytes_of[ref["row"]] for ref in row["images"]]


def test_pictures_that_a_build_only_refers_to_are_exported(
    built: Path, native_root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "referring"
    build(
        BuildConfig(
            sources=("paco",), root=native_root, out=out, samples=30, images="reference"
        ),
        Silent(),
    )  # fmt: skip
    exported(out, tmp_path / "wds", splits=("test",))
    found = list(by_webdataset(tmp_path / "wds", "test"))
    assert found
    assert all("image1.jpg" in sample and "image2.jpg" in sample for sample in found)


def mixed_sources(root: Path, late: str) -> None:
    """Write `coco_parts` sources, one train image of them a PNG; the others are JPEG."""
    write_coco_parts(root, COUNTS)
    notes = root / "coco_parts" / "notes" / "train.json"
    content = json.loads(notes.read_bytes())
    for image in content["images"]:
        if image["file_name"] == late:
            path = root / "coco_parts" / "pictures" / "train" / image["file_name"]
            image["file_name"] = str(Path(image["file_name"]).with_suffix(".png"))
            Image.open(path).save(path.with_suffix(".png"))
            path.unlink()
    notes.write_text(json.dumps(content))


def build_of(root: Path, out: Path) -> Path:
    build(BuildConfig(("coco_parts",), root=root, out=out, samples=60), Silent())
    return out


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build with one PNG, which none of the first five train rows shows; do not write here."""
    root = tmp_path_factory.mktemp("mixed")
    write_coco_parts(root / "plain", COUNTS)
    plain = build_of(root / "plain", root / "first")
    rows = [
        [ref["file_name"] for ref in row["images"]] for row in iter_rows(plain, "pairs", "train")
    ]
    early = {image for images in rows[:5] for image in images}
    late = next(image for images in rows[5:] for image in images if image not in early)
    mixed_sources(root / "sources", late)
    return build_of(root / "sources", root / "build")


def test_a_png_that_comes_late_is_in_the_same_column(mixed: Path, tmp_path: Path) -> None:
    out = exported(mixed, tmp_path / "wds")
    bytes_of = {split: stored(mixed, split) for split in SPLITS}
    loaded = by_datasets(out, SPLITS, tmp_path / "cache")
    formats = []
    for split in SPLITS:
        rows = list(iter_rows(mixed, "pairs", split))
        decoded = wds.WebDataset(shards(out, split), shardshuffle=False).decode("pil")
        for row, sample, seen in zip(rows, loaded[split], decoded, strict=True):
            assert {key for key in sample if not key.startswith("__")} == {
                "json", "image1.jpg", "image2.jpg",
            }  # fmt: skip
            assert without_images(sample["json"]) == expected(row)
            assert without_images(seen["json"]) == expected(row)
            for number, ref in enumerate(row["images"], 1):
                formats.append(sample["json"]["images"][number - 1]["format"])
                wanted = pixels(bytes_of[split][ref["row"]])
                for picture in (sample[f"image{number}.jpg"], seen[f"image{number}.jpg"]):
                    assert np.array_equal(np.asarray(picture.convert("RGB")), wanted)
    pngs = formats.count("png")
    assert 0 < pngs < len(formats)
    assert "png" not in formats[:10]  # five rows of two images
    assert (
        f"{pngs} members named .jpg have the bytes of a png file" in (out / "README.md").read_text()
    )


@pytest.mark.parametrize("last", [True, False], ids=["parts come late", "parts come first"])
def test_rows_with_and_without_parts_load_in_any_order(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: bool
) -> None:
    def ordered(job: Job, split: str) -> Iterator[Row]:
        yield from sorted(exported_rows(job, split), key=lambda row: bool(row["parts"]) == last)

    monkeypatch.setattr(writer, "exported_rows", ordered)
    out = exported(mixed, tmp_path / "wds", splits=("train",))
    loaded = by_datasets(out, ("train",), tmp_path / "cache")["train"]
    rows = {row["id"]: row for row in iter_rows(mixed, "pairs", "train")}
    have = [bool(rows[sample["json"]["id"]]["parts"]) for sample in loaded]
    assert have == sorted(have, reverse=not last)
    assert have[:5] == [not last] * 5
    assert sum(have) not in (0, len(have))
    assert len(loaded) == len(rows)
    for sample in loaded:
        assert without_images(sample["json"]) == expected(rows[sample["json"]["id"]])


@pytest.mark.parametrize(
    ("suffixes", "wanted"),
    [
        ({".jpg", ".jpeg"}, "jpg"),
        ({".png"}, "png"),
        ({".webp"}, "webp"),
        ({".png", ".jpg"}, "jpg"),
        ({".tif"}, "jpg"),
        ({""}, "jpg"),
    ],
)
def test_all_members_have_the_suffix_of_the_build(suffixes: set[str], wanted: str) -> None:
    assert writer.member_suffix(suffixes) == wanted
