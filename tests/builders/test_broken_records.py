"""Every broken record is refused for its reason, and its neighbours do not notice."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from mixedparts.records import ImageRecord, Level, Reason
from mixedparts.sources.contract import Source, get_source
from tests.builders.conformance import (
    Outcome,
    accounted,
    images_of,
    read_split,
    rejects_of,
)
from tests.factories.ade20k import write_ade20k
from tests.factories.coco_parts import write_coco_parts
from tests.factories.faults import (
    ANNOTATION_CASES,
    IMAGE_CASES,
    Case,
    edit_json,
    run_length_cases,
)
from tests.factories.paco import write_paco
from tests.factories.partimagenet import write_partimagenet
from tests.factories.partinventory import write_partinventory
from tests.factories.scenes import SIZES


@dataclass(frozen=True)
class Reader:
    """A reader under test: two images, of which the last and its last annotation are broken."""

    name: str
    write: Callable[[Path], Any]
    file: str
    level: Level | None = None


TWO = {"train": 2}
READERS = [
    Reader("paco", lambda root: write_paco(root, TWO), "paco/annotations/paco_lvis_v1_train.json"),
    Reader(
        "partimagenet",
        lambda root: write_partimagenet(root, TWO),
        "PartImageNet/annotations/train/train.json",
        Level.PART,
    ),
    Reader(
        "partinventory",
        lambda root: write_partinventory(root, TWO),
        "PartInventory/annotations/spin2_train_parts.json",
        Level.PART,
    ),
    Reader(
        "coco_parts",
        lambda root: write_coco_parts(root, TWO),
        "coco_parts/notes/train.json",
    ),
    Reader(
        "ade20k",
        lambda root: write_ade20k(root, 2, 0),
        "ADE20KPart234/ade20k_instance_train.json",
        Level.OBJECT,
    ),
]
each_reader = pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
RUN_LENGTHS = run_length_cases(*SIZES[1])


def read(reader: Reader, root: Path) -> list[Outcome]:
    return read_split(source_of(reader), root, "train")


@cache
def source_of(reader: Reader) -> Source:
    return get_source(reader.name)


def counts(reader: Reader, root: Path) -> dict[str, int]:
    content = json.loads((root / reader.file).read_text())
    return {key: len(content[key]) for key in ("images", "annotations")}


Untouched = Callable[[Reader, Path], list[Outcome]]


@pytest.fixture(scope="session")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Untouched:
    """Return what copies a reader's good source into a folder, and returns what is read there."""

    @cache
    def written(reader: Reader) -> tuple[Path, list[Outcome]]:
        root = tmp_path_factory.mktemp(reader.name)
        reader.write(root)
        outcomes = read(reader, root)
        assert not rejects_of(outcomes)
        return root, outcomes

    def copy(reader: Reader, root: Path) -> list[Outcome]:
        original, outcomes = written(reader)
        shutil.copytree(original, root, dirs_exist_ok=True)
        return outcomes

    return copy


def break_last(reader: Reader, root: Path, kind: str, case: Case) -> str:
    """Break the last record of a list; return what it is then called."""
    name = ""

    def change(content: dict[str, Any]) -> None:
        nonlocal name
        records = content[kind]
        name = str(records[-1]["id"]) if case.has_id else str(len(records) - 1)
        records[-1] = case.change(records[-1])

    edit_json(root / reader.file, change)
    return name


@each_reader
@pytest.mark.parametrize("case", ANNOTATION_CASES + RUN_LENGTHS, ids=lambda case: case.name)
def test_a_broken_annotation_is_one_reject(
    reader: Reader, case: Case, tmp_path: Path, untouched: Untouched
) -> None:
    good = untouched(reader, tmp_path)
    expected = counts(reader, tmp_path)
    name = break_last(reader, tmp_path, "annotations", case)

    outcomes = read(reader, tmp_path)

    refused = [r for r in rejects_of(outcomes) if r.level is not Level.POLYGON]
    assert [(r.record_id, r.reason) for r in refused] == [(name, case.reason)]
    assert refused[0].level in (Level.OBJECT, Level.PART)
    assert refused[0].file == reader.file
    assert len(refused[0].detail) <= 200
    polygons = [r for r in rejects_of(outcomes) if r.level is Level.POLYGON]
    assert [(r.record_id, r.reason) for r in polygons] == [(name, p) for p in case.polygons]
    assert accounted(outcomes, reader.level) == expected
    assert images_of(outcomes)[0] == images_of(good)[0]
    assert len(images_of(outcomes)) == 2


@each_reader
@pytest.mark.parametrize("case", IMAGE_CASES, ids=lambda case: case.name)
def test_a_broken_image_takes_its_annotations_along(
    reader: Reader, case: Case, tmp_path: Path, untouched: Untouched
) -> None:
    good = untouched(reader, tmp_path)
    expected = counts(reader, tmp_path)
    name = break_last(reader, tmp_path, "images", case)

    outcomes = read(reader, tmp_path)

    assert images_of(outcomes) == images_of(good)[:1]
    refused = [r for r in rejects_of(outcomes) if r.level is Level.IMAGE]
    assert [(r.record_id, r.reason) for r in refused] == [(name, case.reason)]
    others = [r for r in rejects_of(outcomes) if r.level is not Level.IMAGE]
    lost = Reason.IMAGE_REJECTED if case.has_id else Reason.UNKNOWN_IMAGE
    assert {r.reason for r in others} == {lost}
    assert accounted(outcomes, reader.level) == expected


@each_reader
def test_the_first_of_an_annotation_id_counts(reader: Reader, tmp_path: Path) -> None:
    reader.write(tmp_path)
    good = read(reader, tmp_path)
    last = json.loads((tmp_path / reader.file).read_text())["annotations"][-1]

    def change(content: dict[str, Any]) -> None:
        first = content["annotations"][0]
        content["annotations"] += [
            last,
            last | {"id": str(last["id"]), "segmentation": []},
            last | {"id": float(last["id"]), "image_id": first["image_id"]},
            last | {"image_id": "nowhere"},
        ]

    edit_json(tmp_path / reader.file, change)
    outcomes = read(reader, tmp_path)
    assert images_of(outcomes) == images_of(good)
    refused = rejects_of(outcomes)
    assert {(r.record_id, r.reason) for r in refused} == {(str(last["id"]), Reason.DUPLICATE_ID)}
    assert accounted(outcomes, reader.level) == counts(reader, tmp_path)


@each_reader
def test_the_first_of_an_image_id_counts(reader: Reader, tmp_path: Path) -> None:
    reader.write(tmp_path)
    good = read(reader, tmp_path)
    edit_json(
        tmp_path / reader.file,
        lambda content: content["images"].append(content["images"][0] | {"width": 5}),
    )
    outcomes = read(reader, tmp_path)
    assert images_of(outcomes) == images_of(good)
    assert [(r.level, r.reason) for r in rejects_of(outcomes)] == [
        (Level.IMAGE, Reason.DUPLICATE_ID)
    ]


@each_reader
def test_strays_and_odd_categories_are_told_once(reader: Reader, tmp_path: Path) -> None:
    reader.write(tmp_path)
    good = read(reader, tmp_path)

    def change(content: dict[str, Any]) -> None:
        content["categories"] += [None, {"id": True}, content["categories"][0], {"name": "x"}]

    edit_json(tmp_path / reader.file, change)
    outcomes = [
        outcome
        for shard in source_of(reader).plan(tmp_path, "train", 1, "")
        for outcome in source_of(reader).read(shard)
    ]
    assert images_of(outcomes) == images_of(good)
    assert [(r.level, r.reason) for r in rejects_of(outcomes)] == [
        (Level.FILE, Reason.MALFORMED_RECORD),
        (Level.FILE, Reason.MALFORMED_RECORD),
        (Level.FILE, Reason.DUPLICATE_ID),
        (Level.FILE, Reason.MALFORMED_RECORD),
    ]


@each_reader
def test_a_file_without_images_still_accounts_for_its_annotations(
    reader: Reader, tmp_path: Path
) -> None:
    reader.write(tmp_path)
    expected = counts(reader, tmp_path) | {"images": 0}
    edit_json(tmp_path / reader.file, lambda content: content.update(images=[]))
    outcomes = read(reader, tmp_path)
    assert {r.reason for r in rejects_of(outcomes)} == {Reason.UNKNOWN_IMAGE}
    assert accounted(outcomes, reader.level) == expected


@each_reader
def test_one_bad_polygon_leaves_the_others(reader: Reader, tmp_path: Path) -> None:
    reader.write(tmp_path)
    box = [4.0, 4.0, 30.0, 4.0, 30.0, 30.0, 4.0, 30.0]

    def mask_with(*polygons: list[Any]) -> tuple[ImageRecord, list[Reason]]:
        edit_json(
            tmp_path / reader.file,
            lambda content: content["annotations"][-1].update(segmentation=list(polygons)),
        )
        outcomes = read(reader, tmp_path)
        dropped = [r.reason for r in rejects_of(outcomes) if r.level is Level.POLYGON]
        assert len(dropped) == len(rejects_of(outcomes))
        return images_of(outcomes)[-1], dropped

    alone, none = mask_with(box)
    # The library takes a first polygon of 4 numbers for a box, and fails on one of 2.
    for extra in ([1.0, 2.0], [1.0, 2.0, 3.0, 4.0], [], [float("nan")] * 6, [1e9] * 8):
        for polygons in ([box, extra], [extra, box]):
            image, dropped = mask_with(*polygons)
            assert image == alone
            assert len(dropped) == 1
    assert none == []


@each_reader
def test_unusual_spellings_are_read(reader: Reader, tmp_path: Path) -> None:
    reader.write(tmp_path)
    good = images_of(read(reader, tmp_path))

    def change(content: dict[str, Any]) -> None:
        for image in content["images"]:
            image["width"] = float(image["width"])
        for item in content["annotations"]:
            item["id"] = float(item["id"])
            item["category_id"] = str(item["category_id"])
            item.update(area=float("nan"), bbox=[float("inf"), None], iscrowd="odd", result={})
            if isinstance(item["segmentation"], dict):
                item["segmentation"]["size"] = [float(n) for n in item["segmentation"]["size"]]
                item["segmentation"]["more"] = None
        content.update(info=None, licenses=7, extra=[float("-inf")])

    edit_json(tmp_path / reader.file, change)
    outcomes = read(reader, tmp_path)
    assert images_of(outcomes) == good
    assert not rejects_of(outcomes)


@each_reader
@pytest.mark.parametrize("broken", [b"", b"nothing", b"\xff\xd8\xff\xe0" + b"\x00" * 60])
def test_a_picture_that_does_not_decode_is_refused(
    reader: Reader, broken: bytes, tmp_path: Path
) -> None:
    written = reader.write(tmp_path)
    (tmp_path / written[-1].path).write_bytes(broken)
    outcomes = read(reader, tmp_path)
    assert [image.path for image in images_of(outcomes)] == [written[0].path]
    reasons = {r.reason for r in rejects_of(outcomes)}
    assert reasons == {Reason.UNREADABLE_IMAGE, Reason.IMAGE_REJECTED}
    assert accounted(outcomes, reader.level) == counts(reader, tmp_path)
