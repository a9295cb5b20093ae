"""Ids mean the same in every file of an export, whichever splits are written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mixedparts.interchange.export.request import ExportRequest, Format
from mixedparts.interchange.export.run import export
from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.progress import Silent
from tests.oracles.build_tables import iter_rows

SPLITS = ("train", "validation", "test")
Content = dict[str, Any]


def written(build_folder: Path, name: Format, out: Path, **choices: Any) -> Path:
    export(ExportRequest(build_folder, name, out, **choices), Silent())
    return out


def annotation_files(folder: Path) -> dict[str, Content]:
    """Return path -> content of the COCO files of a folder."""
    contents = {str(path.relative_to(folder)): json.loads(path.read_bytes())
                for path in sorted(folder.rglob("*.json"))}  # fmt: skip
    return {path: c for path, c in contents.items() if isinstance(c, dict) and "annotations" in c}


def names_by_id(content: Content) -> dict[Any, str]:
    return {item["id"]: item["name"] for item in content["categories"]}


def vocabulary(folder: Path, *sources: str) -> set[str]:
    """Return `class` and `class:part` of every entity of a build."""
    names = set()
    for split in SPLITS:
        for entity in iter_rows(folder, "entities", split):
            if not sources or entity["source"] in sources:
                names.add(entity["category"])
                names |= {f"{entity['category']}:{part['name']}" for part in entity["parts"]}
    return names


@pytest.fixture(scope="module")
def coco(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All splits and the benchmark of `built` as COCO; do not write here."""
    out = tmp_path_factory.mktemp("shared") / "coco"
    return written(built, Format.COCO, out, splits=(*SPLITS, "benchmark"), pictures=False)


def test_a_category_has_one_id_in_all_splits(built: Path, coco: Path) -> None:
    files = annotation_files(coco)
    assert len(files) == 4
    first = files["annotations/instances_train.json"]
    for content in files.values():
        assert content["categories"] == first["categories"]
        assert content["licenses"] == first["licenses"]
    found = names_by_id(first)
    assert set(found.values()) == vocabulary(built)
    assert sorted(found) == list(range(1, len(found) + 1))


def test_images_and_annotations_of_two_splits_never_share_an_id(built: Path, coco: Path) -> None:
    for key in ("images", "annotations"):
        ids = [
            item["id"]
            for split in SPLITS
            for item in json.loads((coco / f"annotations/instances_{split}.json").read_bytes())[key]
        ]
        assert ids
        assert len(ids) == len(set(ids))
    joined = joined_masks(coco)
    for split in SPLITS:
        content = json.loads((coco / f"annotations/instances_{split}.json").read_bytes())
        pairs = {pair["id"]: pair for pair in content["mixedparts_pairs"]}
        for row in iter_rows(built, "pairs", split):
            regions = {"object": row["objects"], "part": row["parts"]}
            wanted = [regions[seg["kind"]][seg["index"]] for seg in row["seg"]]
            classes = [item["category"] for item in row["objects"]]
            names = [
                classes[item["image"]] + (f":{item['name']}" if "name" in item else "")
                for item in wanted
            ]
            assert [joined[number] for number in pairs[row["id"]]["seg"]] == [
                (name, item["mask"]) for name, item in zip(names, wanted, strict=True)
            ]


def joined_masks(coco: Path) -> dict[int, tuple[str, Content]]:
    """Return annotation id -> name and mask, after the three splits were joined into one file.

    The names are those of the train file: what a model that was trained on it would say.
    """
    contents = [
        json.loads((coco / f"annotations/instances_{split}.json").read_bytes()) for split in SPLITS
    ]
    names = names_by_id(contents[0])
    return {
        item["id"]: (names[item["category_id"]], item["segmentation"])
        for content in contents
        for item in content["annotations"]
    }


@pytest.mark.parametrize("split", [*SPLITS, "benchmark"])
def test_ids_do_not_depend_on_the_splits_that_are_written(
    built: Path, coco: Path, tmp_path: Path, split: str
) -> None:
    name = f"annotations/instances_{split}.json"
    alone = written(built, Format.COCO, tmp_path / "one", splits=(split,), pictures=False)
    assert (alone / name).read_bytes() == (coco / name).read_bytes()
    few = written(built, Format.COCO, tmp_path / "few", splits=(split,), limit=3, pictures=False)
    limited, whole = (json.loads((folder / name).read_bytes()) for folder in (few, coco))
    for key in ("images", "annotations"):
        by_id = {item["id"]: item for item in whole[key]}
        assert limited[key]
        assert all(by_id[item["id"]] == item for item in limited[key])


def test_the_benchmark_uses_the_ids_of_test(coco: Path) -> None:
    files = annotation_files(coco)
    test, copy = (files[f"annotations/instances_{s}.json"] for s in ("test", "benchmark"))
    for key in ("images", "annotations", "mixedparts_pairs"):
        by_id = {item["id"]: item for item in test[key]}
        assert copy[key]
        assert all(by_id[item["id"]] == item for item in copy[key])


def test_a_bundle_gives_ids_once_for_all_splits(built: Path, tmp_path: Path) -> None:
    bundle = annotation_files(written(built, Format.PUBLISHED, tmp_path / "bundle"))
    kinds = {
        "paco": [path for path in bundle if path.startswith("paco_lvis")],
        "objects": [path for path in bundle if "_whole/" in path],
        "parts": [path for path in bundle if "PartImageNet" in path and "_whole" not in path],
        "ade20k": [path for path in bundle if path.startswith("ADE20K")],
    }  # fmt: skip
    assert {kind: len(paths) for kind, paths in kinds.items()} == {
        "paco": 3, "objects": 3, "parts": 3, "ade20k": 2,
    }  # fmt: skip
    for kind, paths in kinds.items():
        contents = [bundle[path] for path in paths]
        assert all(c["categories"] == contents[0]["categories"] for c in contents), kind
        for key in ("images", "annotations"):
            ids = [item["id"] for content in contents for item in content[key]]
            assert len(ids) == len(set(ids)) > 0, (kind, key)
    names = set(names_by_id(bundle[kinds["objects"][0]]).values())
    assert names == {name for name in vocabulary(built, "partimagenet") if ":" not in name}


def test_ids_of_a_bundle_do_not_depend_on_the_splits(built: Path, tmp_path: Path) -> None:
    whole = annotation_files(written(built, Format.PUBLISHED, tmp_path / "all"))
    alone = written(built, Format.PUBLISHED, tmp_path / "one", splits=("validation",))
    val = {path: c for path, c in annotation_files(alone).items() if "ADE20K" not in path}
    assert len(val) == 3
    assert all(whole[path] == content for path, content in val.items())


def test_pictures_of_one_name_stay_apart_in_every_split(tmp_path: Path) -> None:
    """Two splits with the same file names, and two suffixes of one name in a split."""
    out = tmp_path / "build"
    build(BuildConfig(("coco_parts",), root=same_names(tmp_path), out=out, samples=60), Silent())
    coco = written(out, Format.COCO, tmp_path / "coco")
    seen: dict[str, str] = {}
    for content in annotation_files(coco).values():
        split = content["info"]["description"].split()[-1]
        for image in content["images"]:
            data = coco / "images" / split / image["file_name"]
            assert data.is_file()
            stem = str(Path(image["file_name"]).with_suffix("")).casefold()
            assert seen.setdefault(stem, image["sha256"]) == image["sha256"]
    assert len(seen) == sum(1 for s in SPLITS for _ in iter_rows(out, "images", s))


def same_names(root: Path) -> Path:
    """Write `coco_parts` sources in which every split names its images `p0.jpg`, `p1.jpg`, …."""
    from tests.factories.coco_parts import write_coco_parts

    write_coco_parts(root)
    source = root / "coco_parts"
    for split in SPLITS:
        for number, name in enumerate(rename(source / "notes" / f"{split}.json")):
            folder = source / "pictures" / split
            (folder / name).rename(folder / f"P{number}.jpg")
    return root


def rename(notes: Path) -> Iterator[str]:
    """Number the file names of an annotation file, and yield the old ones."""
    content = json.loads(notes.read_bytes())
    for number, image in enumerate(content["images"]):
        yield image["file_name"]
        image["file_name"] = f"P{number}.jpg"
    notes.write_text(json.dumps(content))
