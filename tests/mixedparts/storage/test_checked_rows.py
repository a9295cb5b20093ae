"""Rows that no build writes are named by the readers that take rows as they are."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from calico.evaluation.most_frequent import most_frequent
from mixedparts.errors import InputError
from mixedparts.interchange.export.request import ExportRequest
from mixedparts.interchange.export.run import export
from mixedparts.progress import Silent
from mixedparts.reports.statistics import collect
from mixedparts.storage.build_folder import BuildFolder, DamagedShard
from mixedparts.storage.checked_rows import checked_batches, checked_rows
from mixedparts.viewer.build_page import PageRequest, write_build_page
from tests.factories.forger import rewrite

Row = dict[str, Any]


def test_rows_of_a_build_pass(built: Path, published: Path) -> None:
    for place in (built, published):
        build = BuildFolder.open(place)
        for table in ("pairs", "images", "entities", "preview"):
            assert list(checked_rows(build, table)) == list(build.rows(table))
            leaves = ["parts.list.element.name"] if table in ("pairs", "entities") else None
            assert sum(b.num_rows for b in checked_batches(build, table, None, leaves)) > 0


def set_value(key: str, value: Any) -> Callable[[Row], None]:
    return lambda row: row.update({key: value})


def set_first(key: str, **values: Any) -> Callable[[Row], None]:
    return lambda row: row[key][0].update(values)


def double(key: str) -> Callable[[Row], None]:
    return lambda row: row.update({key: row[key] * 2})


def set_mask(key: str, **values: Any) -> Callable[[Row], None]:
    return lambda row: row[key][0]["mask"].update(values)


PAIRS: dict[str, tuple[Callable[[Row], None], str]] = {
    "no images": (set_value("images", None), "pairs.images has no value in 1 places"),
    "no answer": (set_value("answer", None), "pairs.answer has no value"),
    "a null object": (lambda row: row["objects"].append(None), "pairs.objects has no value"),
    "no counts": (set_mask("objects", counts=None), "pairs.objects.mask.counts has no value"),
    "no category": (set_first("objects", category=None), "pairs.objects.category has no value"),
    "no row": (set_first("images", row=None), "pairs.images.row has no value"),
    "a short box": (set_first("objects", bbox=[1.0]), "bbox has another number of values than 4"),
    "a short size": (set_mask("objects", size=[9]), "size has another number of values than 2"),
    "another size": (set_mask("objects", size=[9, 9]), "a mask has another size than its image"),
    "another task": (set_value("task", "(IMAGE9)"), r"there is no task '\(IMAGE9\)'"),
    "one image": (lambda row: row["images"].pop(), "fewer than 2 images"),
    "an image too high": (set_first("objects", image=5), "objects is of an image that its row"),
    "an image below 0": (set_first("objects", image=-1), "objects is of an image that its row"),
    "objects twice": (double("objects"), "another number of objects than of images"),
    "no object": (set_value("objects", []), "another number of objects than of images"),
    "seg too high": (set_first("seg", index=99), "an entry of seg means a mask"),
    "seg of nothing": (set_first("seg", kind="dragon"), "an entry of seg means a mask"),
}
ENTITIES: dict[str, tuple[Callable[[Row], None], str]] = {
    "another width": (set_value("width", 7), "a mask has another size than its image"),
    "no parts": (set_value("parts", None), "entities.parts has no value"),
    "no name": (set_value("category", None), "entities.category has no value"),
}


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "build"))


@pytest.mark.parametrize(("change", "says"), PAIRS.values(), ids=PAIRS)
def test_a_row_of_pairs_that_cannot_be_used(
    copy: Path, change: Callable[[Row], None], says: str
) -> None:
    rewrite(copy, lambda rows: change(rows[3]))
    with pytest.raises(DamagedShard, match=rf"train-00000-of-00001\.parquet cannot .*{says}"):
        list(checked_rows(BuildFolder.open(copy), "pairs"))


@pytest.mark.parametrize(("change", "says"), ENTITIES.values(), ids=ENTITIES)
def test_a_row_of_entities_that_cannot_be_used(
    copy: Path, change: Callable[[Row], None], says: str
) -> None:
    rewrite(copy, lambda rows: change(rows[3]), "entities")
    with pytest.raises(DamagedShard, match=says):
        list(checked_rows(BuildFolder.open(copy), "entities"))


def test_every_reader_that_takes_rows_as_they_are_names_them(copy: Path, tmp_path: Path) -> None:
    rewrite(copy, lambda rows: rows[3].update(objects=None))
    readers: list[Callable[[], object]] = [
        lambda: collect(copy),
        lambda: most_frequent(BuildFolder.open(copy)),
        *(
            lambda name=name: export(ExportRequest(copy, name, tmp_path / name), Silent())
            for name in ("coco", "webdataset", "parquet")
        ),
        lambda: write_build_page(copy, tmp_path / "view.html", PageRequest(limit=10**6)),
    ]
    for read in readers:
        with pytest.raises(DamagedShard, match="objects"):
            read()


@pytest.mark.parametrize("number", [-1, 10**9])
def test_an_image_that_is_not_there(copy: Path, tmp_path: Path, number: int) -> None:
    rewrite(copy, lambda rows: rows[0].update(row=number), "images")
    for name in ("coco", "webdataset", "parquet"):
        with pytest.raises(InputError, match="shows row 0 of images, which is not there"):
            export(ExportRequest(copy, name, tmp_path / name), Silent())
