"""A bundle written by hand becomes an ordinary build, and what is wrong in it a counted reject."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as coco_mask

from mixedparts.errors import InputError, UsageError
from mixedparts.interchange.bundle_import.importing import ImportRequest, import_bundle
from mixedparts.loading import load_dataset
from mixedparts.progress import Silent
from mixedparts.verification.verify import verify
from tests.factories import bundle as written
from tests.oracles.build_tables import iter_rows

Row = dict[str, Any]


def load(bundle: Path, sources: Path, out: Path, **choices: Any) -> dict[str, Any]:
    return import_bundle(ImportRequest(bundle, sources, out, **choices), Silent())


@pytest.fixture
def bundle(tmp_path: Path) -> tuple[Path, Path]:
    return written.write_bundle(tmp_path)


def rows(out: Path, split: str) -> dict[tuple[str, ...], Row]:
    return {
        (row["source"], row["task"], *(item["category"] for item in row["objects"])): row
        for row in iter_rows(out, "pairs", split)
    }


def parts(row: Row) -> dict[tuple[int, str, str], Any]:
    return {(p["image"], p["name"], p["kind"]): mask(p) for p in row["parts"]}


def mask(region: Row) -> Any:
    return coco_mask.decode(region["mask"] | {"counts": region["mask"]["counts"].encode()})


def rejects(out: Path) -> set[tuple[str, str, str]]:
    return {(row["record_id"], row["level"], row["reason"]) for row in rejected_rows(out)}


def rejected_rows(out: Path) -> list[Row]:
    found: list[Row] = pq.read_table(out / "rejects.parquet").to_pylist()
    return found


def test_a_bundle_written_by_hand_becomes_a_build(
    bundle: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    manifest = load(*bundle, out)
    assert manifest["rejects"] == {}
    assert verify(out, "deep").listed == []
    train, test = rows(out, "train"), rows(out, "test")
    assert set(train) == {
        ("paco", "common_object", "mug", "mug"),
        ("paco", "common_parts", "chair", "stool"),
        ("paco", "unique_parts", "chair", "stool"),
        ("partimagenet", "common_parts", "dog", "cat"),
        ("partimagenet", "unique_parts", "dog", "cat"),
        ("partimagenet", "common_parts", "cat", "bird"),  # no unique: nothing was stated
    }
    assert set(test) == {
        ("ade20k", "common_object", "chair", "chair"),
        ("ade20k", "common_object", "lamp", "lamp"),
        ("ade20k", "common_parts", "chair", "chair"),
        ("ade20k", "unique_parts", "chair", "chair"),
        ("ade20k", "common_parts", "lamp", "lamp"),
    }
    loaded = load_dataset(out, split="test")
    assert loaded[0]["images"][0]["pixels"].size == (written.WIDTH, written.HEIGHT)


def test_masks_are_unions_of_the_named_annotations(
    bundle: tuple[Path, Path], tmp_path: Path
) -> None:
    load(*bundle, tmp_path / "out")
    train = rows(tmp_path / "out", "train")
    row = train["paco", "common_parts", "chair", "stool"]
    assert [ref["image_id"] for ref in row["images"]] == ["11", "12"]
    two_chairs = written.dense((2, 2, 10, 20), (20, 2, 10, 20))
    assert np.array_equal(mask(row["objects"][0]), two_chairs)
    found = parts(row)
    assert set(found) == {(i, name, "common") for i in (0, 1) for name in ("leg", "seat")}
    assert np.array_equal(found[0, "leg", "common"], written.dense((2, 15, 3, 7), (20, 15, 3, 7)))
    row = train["paco", "unique_parts", "chair", "stool"]
    assert list(parts(row)) == [(0, "back", "unique")]
    row = train["partimagenet", "unique_parts", "dog", "cat"]
    assert [ref["image_id"] for ref in row["images"]] == ["n02099601_1881", "n02123045_1882"]
    assert np.array_equal(parts(row)[1, "tail", "unique"], written.dense((20, 6, 6, 5)))
    row = rows(tmp_path / "out", "test")["ade20k", "common_parts", "chair", "chair"]
    found = parts(row)  # of two ids of one name each image shows one; cut by the object
    assert np.array_equal(found[0, "seat", "common"], written.dense((2, 8, 20, 6)))
    assert np.array_equal(found[1, "seat", "common"], written.dense((4, 8, 20, 6)))


def test_the_published_layout_needs_no_other_folder(
    bundle: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, sources = bundle
    load(folder, sources, tmp_path / "out")
    (sources / "coco").rename(tmp_path / "coco_2017")
    (folder / "paco_lvis").mkdir()
    (sources / "paco" / "annotations").rename(folder / "paco_lvis" / "annotations")
    (sources / "PartImageNet" / "images").rename(folder / "PartImageNet" / "images")
    for name in ("images", "annotations_detectron2_part"):
        (sources / "ADE20KPart234" / name).rename(folder / "ADE20KPart234" / name)
    shutil.rmtree(sources)
    load(folder, sources, tmp_path / "again")
    for split in ("train", "test"):
        assert rows(tmp_path / "again", split) == rows(tmp_path / "out", split)


def test_an_interrupted_import_goes_on(
    bundle: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: Any) -> None:
        raise KeyboardInterrupt

    load(*bundle, tmp_path / "whole")
    for place in (
        "interchange.bundle_import.split_import.entity_table",
        "pipeline.build.run_write",
    ):
        with monkeypatch.context() as patch:
            patch.setattr(f"mixedparts.{place}", stop)
            with pytest.raises(KeyboardInterrupt):
                load(*bundle, tmp_path / "out")
        assert not (tmp_path / "out" / "manifest.json").exists()
    load(*bundle, tmp_path / "out")
    for path in (tmp_path / "whole").rglob("*"):
        if path.is_file() and path.name != "log.jsonl":
            other = tmp_path / "out" / path.relative_to(tmp_path / "whole")
            assert other.read_bytes() == path.read_bytes(), path


def test_of_contradicting_records_those_count_that_most_agree_with(
    bundle: tuple[Path, Path], tmp_path: Path
) -> None:
    """A chair of one instance, a chair without its seat, and two records that agree."""
    sound = written.paco_records()[1]
    one_chair = _edited(sound, "pairs", 0, "ann_ids", value=[[1], [7]])
    no_seat = _edited(sound, "pairs", 0, "common", value=sound["pairs"][0]["common"][:1])
    turned = json.loads(json.dumps(sound))
    turned["img_ids"].reverse()
    pair = turned["pairs"][0]
    pair["cats"].reverse()
    pair["ann_ids"].reverse()
    for part in pair["common"]:
        part["part_ann_ids"].reverse()
    pair["unique"] = None
    written.write_json(bundle[0] / "mixed_parts_train.json", [one_chair, no_seat, sound, turned])
    load(*bundle, tmp_path / "out", splits=("train",))
    found = rows(tmp_path / "out", "train")
    assert set(found) == {
        ("paco", "common_parts", "chair", "stool"), ("paco", "unique_parts", "chair", "stool"),
    }  # fmt: skip
    row = found["paco", "common_parts", "chair", "stool"]
    two_chairs = written.dense((2, 2, 10, 20), (20, 2, 10, 20))
    assert np.array_equal(mask(row["objects"][0]), two_chairs)
    assert {name for _, name, _ in parts(row)} == {"leg", "seat"}
    lost = {r["record_id"]: r for r in rejected_rows(tmp_path / "out")}
    assert {place: row["reason"] for place, row in lost.items()} == {
        "0.0": "contradicted", "1.0": "contradicted",
        "2.0": "duplicate_id",  # the unique parts, which the record without a seat states as well
        "3.0": "duplicate_id",
    }  # fmt: skip
    assert lost["0.0"]["detail"] == "another mask of chair in image 11 is on record"
    assert "seat" in lost["1.0"]["detail"]
    assert verify(tmp_path / "out", "deep").listed == []


def test_ids_of_equal_pixels_are_no_contradiction(
    bundle: tuple[Path, Path], tmp_path: Path
) -> None:
    objects, sound = written.paco_records()
    twice = _edited(sound, "pairs", 0, "ann_ids", value=[[1, 2, 99], [7]])  # 99 is nowhere
    written.write_json(bundle[0] / "mixed_parts_train.json", [objects, twice, sound])
    load(*bundle, tmp_path / "out", splits=("train",))
    lost = {(r["record_id"], r["reason"]) for r in rejected_rows(tmp_path / "out")}
    assert lost == {("99", "unknown_annotation"), ("2.0", "duplicate_id")}
    assert verify(tmp_path / "out", "deep").listed == []


def _edited(record: Row, *path: Any, value: Any) -> Row:
    copy: Row = json.loads(json.dumps(record))
    inner: Any = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return copy


def _bad_records() -> list[tuple[str, Any, bool, str]]:
    """Return (name, record, whether an entry of it is at fault, reason); none can be used."""
    objects, pairs = written.paco_records()
    place = ("pairs", 0)
    malformed = "malformed_record"
    whole: list[tuple[str, Any, str]] = [
        ("null", None, malformed),
        ("number", 5, malformed),
        ("list", [], malformed),
        ("empty", {}, malformed),
        ("no name", {k: v for k, v in pairs.items() if k != "dataset_name"}, malformed),
        ("other dataset", _edited(pairs, "dataset_name", value="pascal"), "unknown_dataset"),
        ("one image", _edited(pairs, "img_ids", value=[11]), malformed),
        ("same image", _edited(pairs, "img_ids", value=[11, 11]), malformed),
        ("image null", _edited(pairs, "img_ids", value=[11, None]), malformed),
        ("is_object text", _edited(pairs, "is_object", value="no"), malformed),
        ("pairs null", _edited(pairs, "pairs", value=None), "nothing_stated"),
        ("common empty", _edited(objects, "common", value=[]), "nothing_stated"),
        ("pairs a dict", _edited(pairs, "pairs", value={}), malformed),
    ]
    unique = {"part_cats": [["leg"], []], "part_ann_ids": [[[3]], []]}
    entries: list[tuple[str, Any, str]] = [
        ("entry null", _edited(pairs, *place, value=None), malformed),
        ("no cats", _edited(pairs, *place, value={"ann_ids": [[1], [7]]}), malformed),
        ("three cats", _edited(pairs, *place, "cats", value=["a", "b", "c"]), malformed),
        ("empty cat", _edited(pairs, *place, "cats", value=["", "stool"]), malformed),
        ("flat ann_ids", _edited(pairs, *place, "ann_ids", value=[1, 7]), malformed),
        ("no object", _edited(pairs, *place, "ann_ids", value=[[], [7]]), malformed),
        ("id NaN", _edited(pairs, *place, "ann_ids", value=[[float("nan")], [7]]), malformed),
        ("both null", _edited(_edited(pairs, *place, "common", value=None),
                              *place, "unique", value=None), "nothing_stated"),
        ("common and unique", _edited(pairs, *place, "unique", value=unique), malformed),
        ("common without ids", _edited(pairs, *place, "common", value=[{"part_cat": "leg"}]),
         malformed),
        ("part twice", _edited(pairs, *place, "common", value=2 * pairs["pairs"][0]["common"]),
         malformed),
        ("ids for ADE", _edited(pairs, *place, "unique", value={"part_cats": [["back"], []],
                                                                "part_cat_ids": [[[6]], []]}),
         malformed),
        ("fewer ids", _edited(pairs, *place, "unique", value={"part_cats": [["back", "arm"], []],
                                                              "part_ann_ids": [[[6]], []]}),
         malformed),
        ("unknown objects", _edited(pairs, *place, "ann_ids", value=[[99], [7]]), "orphan_pair"),
        ("other class", _edited(pairs, *place, "cats", value=["mug", "stool"]), "orphan_pair"),
        ("unknown image", _edited(pairs, "img_ids", value=[11, 999]), "orphan_pair"),
        ("again", written.paco_records()[1], "duplicate_id"),
    ]  # fmt: skip
    return [(name, record, False, reason) for name, record, reason in whole] + [
        (name, record, True, reason) for name, record, reason in entries
    ]


def test_each_bad_record_is_a_reject_and_the_others_stay(
    bundle: tuple[Path, Path], tmp_path: Path
) -> None:
    good, bad = written.paco_records(), _bad_records()
    records = [*good, *(record for _, record, _, _ in bad)]
    written.write_json(bundle[0] / "mixed_parts_train.json", records)
    manifest = load(*bundle, tmp_path / "out", splits=("train",))
    every = rejects(tmp_path / "out")
    found = {place: reason for place, level, reason in every if level == "pair"}
    for place, (name, _, in_entry, reason) in enumerate(bad, len(good)):
        assert found[f"{place}.0" if in_entry else str(place)] == reason, name
    reasons = Counter(row["reason"] for row in rejected_rows(tmp_path / "out"))
    assert manifest["rejects"] == dict(reasons)
    assert len(rows(tmp_path / "out", "train")) == 3
    assert verify(tmp_path / "out", "full").listed == []


def test_bad_annotations_and_pictures_have_their_reasons(
    bundle: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, sources = bundle
    content = written.paco()
    content["annotations"][5]["segmentation"] = {"size": [5, 5], "counts": "0"}  # back of 11
    content["annotations"][8] = {"id": 9}  # seat of 12
    content["annotations"].append(None)
    written.write_json(sources / "paco/annotations/paco_lvis_v1_train.json", content)
    _, partial = written.part_image_net()
    partial["annotations"][1]["segmentation"] = [[1, 2, 3, 4]]
    partial["annotations"][3]["category_id"] = 77
    partial["annotations"][4]["category_id"] = 2  # a tail, the record says head
    written.write_json(
        folder / "PartImageNet/annotations/train/train_mixed_parts.json", partial
    )  # fmt: skip
    maps = sources / "ADE20KPart234/annotations_detectron2_part/validation"
    (maps / "ADE_val_00000002.png").write_bytes(b"no picture")
    load(folder, sources, tmp_path / "out")
    found = rejects(tmp_path / "out")
    assert {
        ("6", "part", "mask_size_mismatch"),
        ("9", "object", "malformed_record"),
        ("8540", "polygon", "short_polygon"),
        ("8540", "part", "missing_mask"),
        ("8542", "part", "unknown_category"),
        ("8543", "part", "part_class_mismatch"),
        ("ADE_val_00000002", "image", "missing_part_map"),
        ("1.0", "pair", "orphan_pair"),
    } <= found
    train = rows(tmp_path / "out", "train")
    assert set(train) == {
        ("paco", "common_object", "mug", "mug"),
        ("paco", "common_parts", "chair", "stool"),  # leg is left, seat lost its twin
        ("partimagenet", "common_parts", "dog", "cat"),
    }
    assert {name for _, name, _ in parts(train["paco", "common_parts", "chair", "stool"])} == {
        "leg"
    }
    assert {row["task"] for row in rows(tmp_path / "out", "test").values()} == {"common_object"}
    assert verify(tmp_path / "out", "full").listed == []


def test_a_missing_picture_takes_its_pairs_along(bundle: tuple[Path, Path], tmp_path: Path) -> None:
    (bundle[1] / "coco/val2017/000000000012.jpg").unlink()
    load(*bundle, tmp_path / "out")
    found = rejects(tmp_path / "out")
    assert ("12", "image", "missing_image") in found
    assert {("0.0", "pair", "orphan_pair"), ("1.0", "pair", "orphan_pair")} <= found
    assert {row["source"] for row in rows(tmp_path / "out", "train").values()} == {"partimagenet"}


@pytest.mark.parametrize(
    "gone",
    [
        "sources/paco",
        "sources/coco",
        "sources/ADE20KPart234/annotations_detectron2_part",
        "sources/PartImageNet",
        "Part_Segm/PartImageNet/annotations/train_whole",
        "Part_Segm/PartImageNet/annotations/train",
        "Part_Segm/ADE20KPart234/ade20k_instance_val_mixed_parts.json",
    ],
)
def test_a_missing_file_is_named_with_the_tree(
    bundle: tuple[Path, Path], tmp_path: Path, gone: str
) -> None:
    target = tmp_path / gone
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    with pytest.raises(InputError, match=r"none of these is there(.|\n)*The whole tree") as caught:
        load(*bundle, tmp_path / "out")
    assert Path(gone).name in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "{", "{}", '"text"', "[1, 2", "\xff"])
def test_unreadable_records_are_one_clear_error(
    bundle: tuple[Path, Path], tmp_path: Path, text: str
) -> None:
    (bundle[0] / "mixed_parts_test.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"mixed_parts_test\.json"):
        load(*bundle, tmp_path / "out")


def test_the_command_ends_with_the_right_code(
    bundle: tuple[Path, Path],
    tmp_path: Path,
    run_mixedparts: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    folder, sources = bundle
    base = ("import", "--format", "published", "--out", "out", "--workers", 1)
    done = run_mixedparts(*base, folder, "--root", sources)
    assert done.returncode == 0, done.stderr
    again = run_mixedparts(*base, folder, "--root", sources)
    assert (again.returncode, "nothing to do" in again.stderr) == (0, True)
    other = run_mixedparts(*base, folder, "--root", sources, "--split", "test")
    assert (other.returncode, "--overwrite" in other.stderr) == (2, True)
    replaced = run_mixedparts(*base, folder, "--root", sources, "--split", "test", "--overwrite")
    assert replaced.returncode == 0
    assert not list((tmp_path / "out" / "pairs").glob("train-*"))
    for arguments in ((tmp_path / "nowhere",), (folder, "--root", tmp_path / "nowhere")):
        missing = run_mixedparts(*base[:-4], "--out", "new", *arguments)
        assert (missing.returncode, "Traceback" in missing.stderr) == (3, False)
        assert "Part_Segm" in missing.stderr or "none of these is there" in missing.stderr


def test_a_folder_with_other_things_is_left_alone(
    bundle: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="contains no build"):
        load(*bundle, tmp_path / "mine")
