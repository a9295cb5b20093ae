"""The one door to a build: what it refuses, and that every reader comes through it."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mixedparts
from calico.cli.evaluate import main as calico_eval
from calico.cli.train import main as calico_train
from mixedparts.cli import main
from mixedparts.errors import InputError, UsageError
from mixedparts.storage.build_folder import BuildFolder
from tests.oracles.build_tables import iter_rows


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    """A build of this test's own."""
    return Path(shutil.copytree(built, tmp_path / "build"))


def edit(build: Path, **changes: Any) -> None:
    manifest = json.loads((build / "manifest.json").read_text())
    (build / "manifest.json").write_text(json.dumps(manifest | changes))


def command(run: Callable[[list[str]], Any], *words: str) -> int:
    """Run a command in this process; return its exit code."""
    try:
        return int(run(list(words)) or 0)
    except SystemExit as end:
        return int(end.code or 0)


READERS: dict[str, Callable[[str], int]] = {
    "verify": lambda build: command(main, "verify", build),
    "stats": lambda build: command(main, "stats", build),
    "view": lambda build: command(main, "view", build, "--out", f"{build}/../view.html"),
    "export": lambda build: command(
        main, "export", build, "--format", "coco", "--out", f"{build}/../coco"
    ),
    "push": lambda build: command(main, "push", build, "--repo-id", "me/it", "--dry-run"),
    "calico-train": lambda build: command(calico_train, "--dataset", build, "--dry-run"),
    "calico-eval": lambda build: command(
        calico_eval, "--dataset", build, "--predictions", "oracle", "--split", "test"
    ),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("version", "helps"), [(99, "pip install --upgrade"), (1, "mixedparts build --sources ade20k")]
)
def test_every_reader_refuses_another_schema_version(
    copy: Path, capsys: pytest.CaptureFixture[str], reader: str, version: int, helps: str
) -> None:
    edit(copy, schema_version=version)
    code = READERS[reader](str(copy))
    printed = "".join(capsys.readouterr())
    assert f"schema version {version}" in printed
    assert "Traceback" not in printed
    if reader == "verify":
        assert code == 1
    else:
        assert code == 3
        assert helps in printed


def test_load_dataset_refuses_another_schema_version(copy: Path) -> None:
    edit(copy, schema_version=99)
    with pytest.raises(InputError, match="schema version 99") as caught:
        mixedparts.load_dataset(copy)
    assert "--upgrade" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shards": [{"path": "pairs/x"}]}, "not as a build writes it"),
        ({"counts": 3}, "not as a build writes it"),
        (
            {"shards": [{"path": "../../x.parquet", "rows": 1, "bytes": 1, "sha256": ""}]},
            "outside the build",
        ),
        (
            {"shards": [{"path": "/etc/hosts", "rows": 1, "bytes": 1, "sha256": ""}]},
            "outside the build",
        ),
    ],
)
def test_a_damaged_manifest_is_one_message(
    copy: Path, changes: dict[str, Any], message: str
) -> None:
    edit(copy, **changes)
    with pytest.raises(InputError, match=message) as caught:
        BuildFolder.open(copy)
    assert "mixedparts verify" in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", "[" * 100_000])
def test_a_folder_without_a_manifest_is_no_build(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InputError, match="no finished build"):
        BuildFolder.open(tmp_path)


def test_it_reads_what_is_there(built: Path) -> None:
    build = BuildFolder.open(built)
    assert build.splits() == ("train", "validation", "test", "benchmark")
    assert build.splits("preview") == ("preview",)
    for table in ("pairs", "images", "entities"):
        for split in build.splits(table):
            rows = list(build.rows(table, split))
            assert rows == list(iter_rows(built, table, split))
            assert build.count(table, split) == len(rows)
            assert build.read(table, split).to_pylist() == rows
    assert build.bytes == sum(shard.bytes for shard in build.shards)


def test_a_missing_split_names_those_that_are_there(built: Path) -> None:
    build = BuildFolder.open(built)
    with pytest.raises(UsageError, match=r"no split 'tain'.*Did you mean 'train'"):
        build.check_split("tain")
    with pytest.raises(InputError, match="Splits: train, validation, test"):
        build.read("images", "benchmark")


def test_a_missing_file_is_one_message(copy: Path) -> None:
    build = BuildFolder.open(copy)
    (shard,) = build.table_shards("pairs", "train")
    (copy / shard.path).unlink()
    with pytest.raises(InputError, match="mixedparts verify"):
        list(build.rows("pairs", "train"))


def test_a_file_that_no_manifest_lists_is_not_read(copy: Path) -> None:
    rows = BuildFolder.open(copy).count("pairs", "train")
    (shard,) = BuildFolder.open(copy).table_shards("pairs", "train")
    file = copy / shard.path
    shutil.copy(file, file.with_name("train-00001-of-00002.parquet"))
    assert len(list(BuildFolder.open(copy).rows("pairs", "train"))) == rows


def test_it_travels_to_worker_processes(built: Path) -> None:
    build = BuildFolder.open(built)
    again = pickle.loads(pickle.dumps(build))
    assert again == build
    assert again.build_id == build.build_id
    assert len(pickle.dumps(build)) < 500  # the path, not the manifest
