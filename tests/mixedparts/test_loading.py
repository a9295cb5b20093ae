"""The built dataset through plain `datasets` and through `mixedparts.load_dataset`."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

import mixedparts
from mixedparts import masks
from mixedparts.errors import InputError, UsageError
from mixedparts.loading import load_dataset
from mixedparts.masks import Rle
from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.progress import Silent
from tests.oracles.build_tables import iter_rows

PACKAGE = Path(mixedparts.__file__).parent


def test_by_path_plain_datasets_gives_the_rows(built: Path) -> None:
    loaded = datasets.load_dataset(str(built))
    assert set(loaded) == {"train", "validation", "test", "benchmark"}
    for split, rows in loaded.items():
        assert list(rows) == list(iter_rows(built, "pairs", split))


def test_streaming_gives_the_same_rows(built: Path) -> None:
    stream = datasets.load_dataset(str(built), split="test", streaming=True)
    assert list(stream) == list(iter_rows(built, "pairs", "test"))


def test_in_a_folder_that_holds_a_build_of_that_name(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert built.name == "mixedparts"
    monkeypatch.chdir(built.parent)
    assert datasets.load_dataset("mixedparts", split="train").num_rows > 0


@pytest.mark.parametrize("splits", [("train", "validation", "test"), ("train",)])
def test_from_the_root_of_a_checkout(
    native_root: Path, tmp_path: Path, splits: tuple[str, ...]
) -> None:
    """A copy of the package stands for the checkout; its build may lack splits."""
    checkout, root = tmp_path / "checkout", tmp_path / "src"
    shutil.copytree(PACKAGE, checkout / "mixedparts", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("builders", "manifests"):
        shutil.copytree(PACKAGE.parent / name, checkout / name)
    shutil.copy(PACKAGE.parent / "pyproject.toml", checkout)
    shutil.copytree(native_root / "paco", root / "paco")
    shutil.copytree(native_root / "coco", root / "coco")
    for split, short in (("validation", "val"), ("test", "test")):
        if split not in splits:
            (root / "paco" / "annotations" / f"paco_lvis_v1_{short}.json").unlink()
    words = ["build", "--sources", "paco", "--root", str(root), "--quiet"]
    run = [sys.executable, "-c", "from mixedparts.cli import main; main()", *words]
    subprocess.run(run, cwd=checkout, check=True, env=_environment(checkout))
    load = "import datasets; d = datasets.load_dataset('mixedparts'); print(sorted(d))"
    done = subprocess.run(
        [sys.executable, "-c", load],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
        env=_environment(checkout),
    )
    wanted = [*splits, "benchmark"] if "test" in splits else [*splits]
    assert done.stdout.strip() == str(sorted(wanted))


def _environment(checkout: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(checkout)}


def test_a_new_build_at_the_same_place_is_not_served_from_the_cache(
    native_root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mixedparts"
    counts = []
    for samples in (60, 90):
        config = BuildConfig(sources=("paco",), root=native_root, out=out, samples=samples)
        build(config, Silent(), overwrite=True)
        plain = datasets.load_dataset(str(out), split="train")
        ours = load_dataset(out, split="train")
        assert plain["id"] == ours["id"] == [r["id"] for r in iter_rows(out, "pairs", "train")]
        counts.append(plain.num_rows)
    assert counts[0] < counts[1]


def test_pixels_are_joined_and_masks_fit_them(built: Path) -> None:
    loaded = load_dataset(built, split="benchmark")
    stored = list(iter_rows(built, "images", "test"))
    for row in (loaded[0], loaded[len(loaded) - 1]):
        for ref in row["images"]:
            assert ref["pixels"].size == (ref["width"], ref["height"])
            data = stored[ref["row"]]["image"]["bytes"]
            wanted = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
            assert (np.asarray(ref["pixels"]) == wanted).all()
        item = row["objects"][0]
        height, width = item["mask"]["size"]
        mask = masks.decode(Rle(height, width, item["mask"]["counts"].encode()))
        assert mask.shape == np.asarray(row["images"][0]["pixels"]).shape[:2]


def test_our_rows_are_the_plain_rows_but_for_pixels(built: Path) -> None:
    for split, rows in load_dataset(built).items():
        plain = list(iter_rows(built, "pairs", split))
        for ours, theirs in zip(rows, plain, strict=True):
            for ref in ours["images"]:
                del ref["pixels"]
            assert ours == theirs
    bare = load_dataset(built, split="test", pixels=False)
    assert "pixels" not in bare[0]["images"][0]


def test_other_tables_decode_their_pictures(built: Path) -> None:
    assert load_dataset(built, "images", "train")[0]["image"].size[0] > 0
    assert load_dataset(built, "preview", "preview")[0]["picture"].size[1] > 100


def test_a_dollar_in_a_folder_reads_no_other_folder(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`datasets` takes it for a variable: it would read the rows of `run test` here."""
    asked, other = tmp_path / "run $STAGE", tmp_path / "run test"
    for folder in (asked, other):
        shutil.copytree(built, folder)
    monkeypatch.setenv("STAGE", "test")
    with pytest.raises(InputError, match=r"takes the \$ in its name for a variable.*run test"):
        load_dataset(asked, split="test", pixels=False)
    expected = [row["id"] for row in iter_rows(built, "pairs", "test")]
    rows = load_dataset(asked, split="test", pixels=False, streaming=True)
    assert [row["id"] for row in rows] == expected
    monkeypatch.delenv("STAGE")
    assert load_dataset(asked, split="test", pixels=False)["id"] == expected


def test_what_is_not_there_is_told(built: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished build"):
        load_dataset(tmp_path)
    with pytest.raises(InputError, match="no build folder"):
        load_dataset(tmp_path / "nothing")
    with pytest.raises(UsageError, match="no config 'pictures'"):
        load_dataset(built, "pictures")
    with pytest.raises(UsageError, match="no split 'dev'"):
        load_dataset(built, split="dev")


def test_a_turned_camera_leaves_pictures_and_masks_on_one_grid(
    native_root: Path, tmp_path: Path
) -> None:
    """`datasets` applies EXIF orientation; the stored bytes must not ask for it."""
    root, out = tmp_path / "src", tmp_path / "mixedparts"
    shutil.copytree(native_root / "PartImageNet", root / "PartImageNet")
    for path in (root / "PartImageNet" / "images").rglob("*.JPEG"):
        picture = Image.open(path)
        exif = picture.getexif()
        exif[0x0112] = 6
        picture.save(path, "JPEG", exif=exif, quality=95)
    manifest = build(
        BuildConfig(sources=("partimagenet",), root=root, out=out, samples=60), Silent()
    )
    assert manifest["rejects"] == {}
    for row in datasets.load_dataset(str(out), "images", split="train"):
        assert row["image"].size == (row["width"], row["height"])
    for row in load_dataset(out, split="train").select(range(3)):
        for ref in row["images"]:
            assert ref["pixels"].size == (ref["width"], ref["height"])
