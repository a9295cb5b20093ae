"""Broken inputs end in one clear message and the right exit code, never in a traceback."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import SOURCES

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def source_root(native_root: Path, tmp_path: Path) -> Path:
    """A copy of the sources that a test may break."""
    return Path(shutil.copytree(native_root, tmp_path / "sources"))


def build_all(run: Run, root: Path, out: Path) -> subprocess.CompletedProcess[str]:
    return run(
        "build", "--sources", *SOURCES, "--root", root, "--out", out, "--samples", 200, "--quiet"
    )


def assert_refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error:") == 1
    for word in words:
        assert word in done.stderr


FILES = {
    "paco": "paco/annotations/paco_lvis_v1_train.json",
    "partimagenet": "PartImageNet/annotations/val/val.json",
    "ade20k": "ADE20KPart234/ade20k_instance_val.json",
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("truncated", lambda text: text[: len(text) // 2]),
        ("empty", lambda text: ""),
        ("a list", lambda text: "[]"),
        ("no images", lambda text: '{"annotations": [], "categories": []}'),
        ("images no list", lambda text: '{"images": 3, "annotations": [], "categories": []}'),
        ("deeply nested", lambda text: "[" * 200_000),
        ("another format", lambda text: "<html>404</html>"),
    ],
)
def test_a_broken_annotation_file_ends_with_3_and_its_name(
    source_root: Path,
    tmp_path: Path,
    run_mixedparts: Run,
    source: str,
    name: str,
    spoil: Callable[[str], str],
) -> None:
    file = source_root / FILES[source]
    file.write_text(spoil(file.read_text()))
    done = run_mixedparts(
        "build", "--sources", source, "--root", source_root, "--out", tmp_path / "o", "--quiet"
    )
    assert_refused(done, 3, file.name)
    assert not (tmp_path / "o" / "manifest.json").exists()


@pytest.mark.parametrize(
    "folder",
    [
        "coco",
        "PartImageNet/images/train",
        "ADE20KPart234/images/validation",
        "ADE20KPart234/annotations_detectron2_part/training",
    ],
)
def test_a_missing_folder_ends_with_3_and_its_name(
    source_root: Path, tmp_path: Path, run_mixedparts: Run, folder: str
) -> None:
    shutil.rmtree(source_root / folder)
    assert_refused(build_all(run_mixedparts, source_root, tmp_path / "o"), 3, folder)


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_that_is_not_there_ends_with_3_and_the_tree(
    tmp_path: Path, run_mixedparts: Run, source: str
) -> None:
    done = run_mixedparts("build", "--sources", source, "--root", tmp_path, "--out", tmp_path / "o")
    assert_refused(done, 3, Path(FILES[source]).parts[0], "Download", "Licence")
    assert not (tmp_path / "o").exists()


def test_a_wrong_source_name_ends_with_2_and_a_guess(tmp_path: Path, run_mixedparts: Run) -> None:
    done = run_mixedparts("build", "--sources", "pacco", "--out", tmp_path / "o")
    assert_refused(done, 2, "'pacco'", "Did you mean 'paco'?")


@pytest.mark.parametrize(
    "words",
    [
        ["build"],
        ["build", "--sources", "paco", "--samples", "0"],
        ["build", "--sources", "paco", "--shard-range", "3/2"],
        ["build", "--sources", "paco", "--shard-range", "x"],
        ["build", "--sources", "paco", "--source-root", "paco"],
        ["build", "--sources", "paco", "--tasks", "rare_parts"],
        ["sources", "show", "nothing"],
        ["sources", "show"],
        ["nonsense"],
        [],
    ],
)
def test_wrong_usage_ends_with_2(run_mixedparts: Run, words: list[str]) -> None:
    done = run_mixedparts(*words)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", ["verify", "stats", "view"])
def test_a_folder_without_a_build_ends_with_3(
    tmp_path: Path, run_mixedparts: Run, verb: str
) -> None:
    assert_refused(run_mixedparts(verb, tmp_path), 3, "no finished build")


def test_a_configuration_file_is_checked(tmp_path: Path, run_mixedparts: Run) -> None:
    config = tmp_path / "build.yaml"
    for text, code in (("sources: [paco]\nsampels: 3\n", 2), ("seed: soon\n", 2), ("[\n", 3)):
        config.write_text(text)
        done = run_mixedparts("build", "--config", config, "--sources", "paco")
        assert_refused(done, code, str(config))
    done = run_mixedparts("build", "--config", tmp_path / "none.yaml")
    assert_refused(done, 3, "none.yaml")


def test_bad_pictures_are_counted_with_their_reasons(
    source_root: Path, tmp_path: Path, run_mixedparts: Run
) -> None:
    pictures = sorted((source_root / "PartImageNet" / "images" / "train").glob("*.JPEG"))
    pictures[0].write_bytes(b"no picture")
    pictures[1].write_bytes(pictures[1].read_bytes()[:-200])
    pictures[2].unlink()
    shutil.copy(pictures[4], pictures[3])
    done = run_mixedparts(
        "build", "--sources", "partimagenet", "--root", source_root, "--out", tmp_path / "o",
        "--json", "--quiet",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rejects = json.loads(done.stdout)["rejects"]
    assert rejects["unreadable_image"] == 2
    assert rejects["missing_image"] == 1
    assert rejects.get("size_mismatch", 0) in (0, 1)
    verified = run_mixedparts("verify", tmp_path / "o", "--level", "deep")
    assert verified.returncode == 0, verified.stdout


def test_too_many_rejects_end_the_build_with_1_and_are_kept(
    source_root: Path, tmp_path: Path, run_mixedparts: Run
) -> None:
    pictures = sorted((source_root / "PartImageNet" / "images" / "train").glob("*.JPEG"))
    for picture in pictures[:3]:
        picture.write_bytes(b"no picture")
    out = tmp_path / "o"
    words = ["build", "--sources", "partimagenet", "--root", source_root, "--out", out, "--quiet"]
    done = run_mixedparts(*words, "--max-rejects", "2")
    assert_refused(done, 1, "unreadable_image: 3", "--max-rejects 2", "_build/rejects.parquet")
    kept = pq.read_table(out / "_build" / "rejects.parquet").to_pylist()
    assert [row["reason"] for row in kept].count("unreadable_image") == 3
    assert not (out / "manifest.json").exists()
    dry = run_mixedparts(*words, "--max-rejects", "1%", "--dry-run")
    assert_refused(dry, 1, "the build would fail", "unreadable_image: 3")
    assert "dry run: nothing was written" in dry.stdout
    assert run_mixedparts(*words, "--max-rejects", "50%").returncode == 0
    assert not (out / "_build" / "rejects.parquet").exists()
    assert len(pq.read_table(out / "rejects.parquet")) == len(kept)


@pytest.mark.parametrize("limit", ["many", "-1", "101%", "1.5", ""])
def test_a_limit_that_is_none_ends_with_2(run_mixedparts: Run, limit: str) -> None:
    done = run_mixedparts("build", "--sources", "paco", f"--max-rejects={limit}")
    assert_refused(done, 2, "max_rejects")
