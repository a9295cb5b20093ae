"""COCO, WebDataset and Parquet exports, read back by programs that know nothing of this project."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from mixedparts.errors import EnvironmentFault, InputError, UsageError
from mixedparts.interchange.export.request import ExportRequest, Format
from mixedparts.interchange.export.run import export
from mixedparts.progress import Silent
from tests.oracles.build_tables import iter_rows
from tests.oracles.digests import digests

Rows = dict[str, dict[str, Any]]


def run(build: Path, name: str, out: Path, overwrite: bool = False, **choices: Any) -> None:
    if name == "webdataset":
        pytest.importorskip(name)
    export(ExportRequest(build, Format(name), out, **choices), Silent(), overwrite)


def rows_by_id(build: Path, split: str) -> Rows:
    return {row["id"]: row for row in iter_rows(build, "pairs", split)}


def stored_pictures(build: Path, split: str) -> dict[int, bytes]:
    return {row["row"]: row["image"]["bytes"] for row in iter_rows(build, "images", split)}


@pytest.mark.parametrize("split", ["train", "benchmark"])
def test_coco_holds_every_mask_and_pair(built: Path, tmp_path: Path, split: str) -> None:
    run(built, "coco", tmp_path / "coco", splits=(split,))
    coco = COCO(str(tmp_path / "coco" / "annotations" / f"instances_{split}.json"))
    rows = rows_by_id(built, split)
    pictures = stored_pictures(built, "test" if split == "benchmark" else split)
    pairs = coco.dataset["mixedparts_pairs"]
    assert [pair["id"] for pair in pairs] == list(rows)
    for pair in pairs:
        row = rows[pair["id"]]
        assert [pair[key] for key in ("source", "task", "question", "answer")] == [
            row[key] for key in ("source", "task", "question", "answer")
        ]
        assert [item["kind"] for item in pair["parts"]] == [p["kind"] for p in row["parts"]]
        numbers = pair["objects"] + [item["annotation"] for item in pair["parts"]]
        meant = {"object": pair["objects"], "part": numbers[len(pair["objects"]) :]}
        assert pair["seg"] == [meant[seg["kind"]][seg["index"]] for seg in row["seg"]]
        owners = {coco.anns[n]["image_id"]: n for n in pair["objects"]}
        for number, region in zip(numbers, row["objects"] + row["parts"], strict=True):
            found = coco.anns[number]
            rle = region["mask"] | {"counts": region["mask"]["counts"].encode()}
            assert np.array_equal(coco.annToMask(found), coco_mask.decode(rle))
            assert (found["area"], found["bbox"]) == (region["area"], region["bbox"])
            assert found["image_id"] == pair["images"][region["image"]]
            category = coco.cats[found["category_id"]]
            if "name" in region:
                owner = coco.anns[found["object_id"]]
                assert found["object_id"] == owners[found["image_id"]]
                whole = coco.cats[owner["category_id"]]["name"]
                assert category["name"] == f"{whole}:{region['name']}"
            else:
                assert category["name"] == region["category"]
    known = {(i["source"], i["image_id"]): n for n, i in coco.imgs.items()}
    shown = 0
    for entity in iter_rows(built, "entities", "test" if split == "benchmark" else split):
        image_id = known.get((entity["source"], entity["image_id"]))
        if image_id is None:
            continue
        shown += 1
        mine = [a for a in coco.imgToAnns[image_id]
                if coco.cats[a["category_id"]]["name"] == entity["category"]]  # fmt: skip
        assert [a["segmentation"] for a in mine] == [entity["mask"]]
        parts = [a for a in coco.imgToAnns[image_id] if a.get("object_id") == mine[0]["id"]]
        assert [a["segmentation"] for a in parts] == [p["mask"] for p in entity["parts"]]
    assert shown
    for image in coco.imgs.values():
        data = (tmp_path / "coco" / "images" / split / image["file_name"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == image["sha256"]
        assert data in pictures.values()
        assert Image.open(io.BytesIO(data)).size == (image["width"], image["height"])


def test_parquet_rows_need_no_other_file(built: Path, tmp_path: Path) -> None:
    run(built, "parquet", tmp_path / "few", limit=25, shard_rows=10)
    loaded = datasets.load_dataset(str(tmp_path / "few"), cache_dir=str(tmp_path / "cache"))
    pictures = stored_pictures(built, "train")
    assert {split: len(rows) for split, rows in loaded.items()} == {
        "train": 25, "validation": 25, "test": 25,
    }  # fmt: skip
    wanted = list(iter_rows(built, "pairs", "train"))[:25]
    for row, original in zip(loaded["train"], wanted, strict=True):
        assert row["answer"] == original["answer"]
        for ref in row["images"]:
            stored = Image.open(io.BytesIO(pictures[ref["row"]])).convert("RGB")
            assert np.array_equal(np.asarray(ref["picture"].convert("RGB")), np.asarray(stored))
        for region in row["objects"] + row["parts"]:
            dense = coco_mask.decode(region["mask"] | {"counts": region["mask"]["counts"].encode()})
            assert np.array_equal(np.asarray(region["mask_picture"]), dense * 255)
        stripped = [{k: v for k, v in p.items() if k != "mask_picture"} for p in row["parts"]]
        assert stripped == original["parts"]


@pytest.mark.parametrize("name", ["coco", "webdataset", "parquet", "published"])
def test_same_build_same_bytes(built: Path, tmp_path: Path, name: str) -> None:
    run(built, name, tmp_path / "one", limit=30)
    run(built, name, tmp_path / "elsewhere" / "two", limit=30)
    assert digests(tmp_path / "one") == digests(tmp_path / "elsewhere" / "two")
    assert not list(tmp_path.rglob(".*"))


def test_nothing_half_made_is_left(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise KeyboardInterrupt

    run(built, "coco", tmp_path / "coco", limit=5)
    before = digests(tmp_path / "coco")
    monkeypatch.setattr("mixedparts.interchange.export.coco.write_document", fail)
    for out in ("coco", "fresh"):
        with pytest.raises(KeyboardInterrupt):
            run(built, "coco", tmp_path / out, overwrite=True, limit=6)
    assert digests(tmp_path / "coco") == before
    assert [path.name for path in tmp_path.iterdir()] == ["coco"]


def test_a_folder_is_replaced_only_when_that_is_meant(built: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(built, "coco", out, limit=5)
    run(built, "coco", out, limit=5)  # the same export again
    with pytest.raises(UsageError, match="--overwrite"):
        run(built, "coco", out, limit=6)
    run(built, "coco", out, overwrite=True, limit=6)
    assert (
        len(COCO(str(out / "annotations" / "instances_train.json")).dataset["mixedparts_pairs"])
        == 6
    )
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="contains no export"):
        run(built, "coco", tmp_path / "mine", overwrite=True)
    with pytest.raises(UsageError, match="lie in one another"):
        run(built, "coco", built / "inside")
    with pytest.raises(InputError, match="no finished build"):
        run(tmp_path / "mine", "coco", tmp_path / "other")


def test_the_command_says_what_is_lost(
    built: Path, tmp_path: Path, run_mixedparts: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = run_mixedparts("export", built, "--format", "coco", "--out", "coco", "--limit", 4)
    assert done.returncode == 0, done.stderr
    assert "4 train, 4 validation, 4 test rows" in done.stdout
    assert "note: Previews" in done.stdout
    readme = (tmp_path / "coco" / "README.md").read_text()
    assert "What this format does not hold" in readme
    for arguments, code in (
        (("--format", "coco", "--out", "x", "--limit", "0"), 2),
        (("--format", "zip", "--out", "x"), 2),
        (("--format", "coco", "--out", tmp_path / "coco"), 2),
    ):
        done = run_mixedparts("export", built, *arguments)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert run_mixedparts("export", "nowhere", "--format", "coco", "--out", "x").returncode == 3


@pytest.mark.parametrize("name", ["coco", "published", "webdataset"])
def test_a_damaged_or_older_build_is_one_clear_error(
    built: Path, tmp_path: Path, name: str
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(built, broken)
    table = next((broken / "pairs").glob("train-*"))
    table.write_bytes(table.read_bytes()[: table.stat().st_size // 2])
    with pytest.raises(InputError, match="mixedparts verify"):
        run(broken, name, tmp_path / "out")
    manifest = json.loads((broken / "manifest.json").read_text())
    (broken / "manifest.json").write_text(json.dumps(manifest | {"schema_version": 1}))
    with pytest.raises(InputError, match="schema version 1"):
        run(broken, name, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


def test_a_missing_extra_names_the_line_that_installs_it(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "webdataset", None)
    monkeypatch.setitem(sys.modules, "webdataset.writer", None)
    request = ExportRequest(built, Format.WEBDATASET, tmp_path / "wds")
    with pytest.raises(EnvironmentFault, match=r"pip install 'mixedparts\[webdataset\]'"):
        export(request, Silent())
    assert not (tmp_path / "wds").exists()
