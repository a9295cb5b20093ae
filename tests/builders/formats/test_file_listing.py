"""The list of annotation files is whole or an error: no closed folder and no link hides a file."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from builders.formats.file_listing import annotation_files
from mixedparts.errors import InputError
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.plan import make_plan
from mixedparts.sources.contract import get_source
from tests.factories.ade20k_full import write_ade20k_full
from tests.factories.closed_folders import close_folder

FOLDER = "ADE20K_2021_17_01/images/ADE/training"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_ade20k_full(tmp_path, 4, 0)
    return tmp_path


def test_files_of_all_folders_and_of_linked_ones(root: Path) -> None:
    names = [f"{FOLDER}/shopping/mall/ADE_train_0000000{n}.json" for n in (1, 3)]
    names += [f"{FOLDER}/urban/street/ADE_train_0000000{n}.json" for n in (2, 4)]
    # What macOS adds, and the folder of an image's instances, are no place of annotation files.
    for stray in (
        "__MACOSX/a.json",
        "shopping/mall/._b.json",
        "urban/street/ADE_train_00000002/c.json",
    ):
        (root / FOLDER / stray).parent.mkdir(parents=True, exist_ok=True)
        (root / FOLDER / stray).write_text("{}")
    assert annotation_files(root, FOLDER, ".json") == tuple(names)
    assert annotation_files(root, "none", ".json") == ()
    (root / "elsewhere").mkdir()
    (root / "elsewhere" / "x.json").write_text("{}")
    (root / FOLDER / "linked").symlink_to(root / "elsewhere")
    assert annotation_files(root, FOLDER, ".json") == tuple(
        sorted([*names, f"{FOLDER}/linked/x.json"])
    )


def test_a_closed_folder_does_not_lose_half_of_a_source(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = root / FOLDER / "urban" / "street"
    close_folder(monkeypatch, closed)
    with pytest.raises(InputError) as caught:
        get_source("ade20k_full").splits(root)
    assert caught.value.message == f"the folder {closed} cannot be listed: Permission denied"
    assert caught.value.exit_code == 3


def test_a_plan_of_a_source_with_a_closed_folder_is_an_error(
    native_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = BuildConfig(sources=("paco",), root=native_root, out=tmp_path)
    assert make_plan(config).sources[0].splits == ("train", "validation", "test")
    close_folder(monkeypatch, native_root / "coco" / "val2017")
    with pytest.raises(InputError, match="coco/val2017 cannot be listed: Permission denied"):
        make_plan(config)


def test_a_link_to_a_folder_that_is_not_there_is_an_error(root: Path) -> None:
    (root / FOLDER / "urban" / "second").symlink_to("/mnt/unplugged")
    with pytest.raises(
        InputError, match="urban/second leads to /mnt/unplugged, which is not there"
    ):
        annotation_files(root, FOLDER, ".json")


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize("target", ["..", ".", "back"])
def test_a_loop_of_links_is_named_by_the_command(
    root: Path, tmp_path: Path, run_mixedparts: Run, target: str
) -> None:
    link = root / FOLDER / "urban" / "back"
    link.symlink_to(target)
    done = run_mixedparts(
        "build", "--sources", "ade20k_full", "--root", root, "--out", tmp_path / "o", "--quiet"
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == 3
    assert str(link) in done.stderr
    # A link to itself leads nowhere; it is no way back to a folder.
    assert ("which is not there" if target == "back" else "a folder above it") in done.stderr


def test_a_loop_of_links_among_images_is_named_by_the_command(
    native_root: Path, tmp_path: Path, run_mixedparts: Run
) -> None:
    root = shutil.copytree(native_root, tmp_path / "in")
    link = root / "coco" / "train2017" / "all"
    link.symlink_to("../train2017")
    done = run_mixedparts("build", "--sources", "paco", "--root", root, "--out", tmp_path / "o")
    assert done.returncode == 3
    assert f"error: the link {link} leads back to {link.parent}, a folder above it" in done.stderr


def test_a_link_to_an_image_that_is_not_there_is_a_missing_image(
    native_root: Path, tmp_path: Path, run_mixedparts: Run
) -> None:
    root = shutil.copytree(native_root, tmp_path / "in")
    image = next((root / "coco" / "train2017").iterdir())
    image.unlink()
    image.symlink_to("/mnt/unplugged/a.jpg")
    out = tmp_path / "o"
    done = run_mixedparts(
        "build", "--sources", "paco", "--root", root, "--out", out, "--samples", 12
    )
    assert done.returncode == 0, done.stderr
    rejects = pq.read_table(out / "rejects.parquet").to_pylist()
    found = {row["record_id"] for row in rejects if row["reason"] == "missing_image"}
    assert found == {str(int(image.stem))}
