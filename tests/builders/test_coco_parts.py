"""COCO-style files that a YAML describes: three ways to link, two to name, and bad descriptions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders.coco_parts import CocoPartsSource
from mixedparts import masks
from mixedparts.errors import InputError
from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.plan import make_plan
from mixedparts.progress import Silent
from mixedparts.records import ImageRecord, Level, Reason
from mixedparts.reports.sources import source_report
from mixedparts.sources.manifests import manifest_of
from mixedparts.verification.verify import verify
from tests.builders.conformance import (
    SourceConformance,
    images_of,
    read_split,
    rejects_of,
)
from tests.checkout import DOCS
from tests.factories.coco_parts import LISTED, SEPARATED, write_coco_parts, yaml_text
from tests.factories.faults import edit_json
from tests.factories.scenes import NativeImage

TRAIN = "coco_parts/notes/train.json"
YAML = "coco_parts/coco_parts.yaml"
Refused = list[tuple[str, Level, Reason]]


class TestCocoPartsConformance(SourceConformance):
    name = "coco_parts"

    def write(self, root: Path) -> dict[str, tuple[int, int]]:
        write_coco_parts(root)

        def break_some(content: dict[str, Any]) -> None:
            content["annotations"][0]["segmentation"] = [[1, 2]]
            content["annotations"][6]["owner"] = 77
            content["annotations"] += [{"id": 900, "image_id": 1}, None]
            content["images"] += [None, content["images"][1]]

        edit_json(root / TRAIN, break_some)
        found = {}
        for split in ("train", "validation", "test"):
            content = json.loads((root / f"coco_parts/notes/{split}.json").read_text())
            found[split] = (len(content["images"]), len(content["annotations"]))
        return found


def read_train(root: Path) -> tuple[list[ImageRecord], Refused]:
    outcomes = read_split(CocoPartsSource(), root, "train")
    return images_of(outcomes), [(r.record_id, r.level, r.reason) for r in rejects_of(outcomes)]


def check(images: list[ImageRecord], written: list[NativeImage]) -> None:
    assert [image.path for image in images] == [native.path for native in written]
    for image, native in zip(images, written, strict=True):
        assert image.image_id == native.image_id
        assert [item.category for item in image.objects] == [o.category for o in native.objects]
        for item, wanted in zip(image.objects, native.objects, strict=True):
            assert np.array_equal(masks.decode(item.mask), wanted.mask)
            parts = [part for part in image.parts if part.object_id == item.id]
            names = [f"{wanted.category}:{part.name}" for part in wanted.parts]
            assert [part.name for part in parts] == names
            for part, expected in zip(parts, wanted.parts, strict=True):
                assert np.array_equal(masks.decode(part.mask), expected.mask)


@pytest.mark.parametrize("classes", [LISTED, SEPARATED], ids=["listed", "separated"])
@pytest.mark.parametrize("link", ["{key: owner}", "overlap", "union"])
def test_masks_and_links_are_those_written(tmp_path: Path, link: str, classes: str) -> None:
    written = write_coco_parts(tmp_path, {"train": 6}, link, classes)
    images, refused = read_train(tmp_path)
    assert not refused
    check(images, written)


def test_names_groups_and_terms_are_those_of_the_yaml(tmp_path: Path) -> None:
    write_coco_parts(tmp_path, {"train": 1})
    known = manifest_of("coco_parts", tmp_path)
    assert known is not None
    assert (known.title, known.version, known.licence) == ("Table parts", "2", "CC0")
    assert known.part_names("mug") == ("body", "handle")
    assert known.comparable("mug", "bowl")
    assert not known.comparable("mug", "spoon")
    assert {(r.native, r.name) for r in known.renames} >= {("coffee_mug", "mug")}
    write_coco_parts(tmp_path, {"train": 1}, classes=SEPARATED)
    known = manifest_of("coco_parts", tmp_path)
    assert known is not None
    assert set(known.by_name) == {"coffee mug", "soup bowl", "spoon"}
    assert known.part_names("coffee mug") == ("body", "handle")
    assert manifest_of("coco_parts") is None


def test_a_part_of_no_object_or_of_another_class_is_refused(tmp_path: Path) -> None:
    write_coco_parts(tmp_path, {"train": 1})

    def change(content: dict[str, Any]) -> None:
        content["annotations"][1]["owner"] = 4  # the mug's handle on the bowl
        content["annotations"][2]["owner"] = 999
        content["annotations"][4]["owner"] = [4]

    edit_json(tmp_path / TRAIN, change)
    _, refused = read_train(tmp_path)
    assert refused == [
        ("2", Level.PART, Reason.PART_CLASS_MISMATCH),
        ("3", Level.PART, Reason.ORPHAN_PART),
        ("5", Level.PART, Reason.MALFORMED_RECORD),
    ]


def test_a_part_without_the_key_of_the_yaml_names_the_key(tmp_path: Path) -> None:
    write_coco_parts(tmp_path, {"train": 1}, "{key: parent_id}")
    refused = rejects_of(read_split(CocoPartsSource(), tmp_path, "train"))
    assert {(r.reason, r.detail) for r in refused} == {
        (Reason.ORPHAN_PART, "it has no key parent_id")
    }


def test_images_without_their_annotation_file_are_an_error(tmp_path: Path) -> None:
    write_coco_parts(tmp_path, {"train": 1, "test": 1})
    # Neither file nor images of validation are there: the split was left out on purpose.
    assert CocoPartsSource().splits(tmp_path) == ("train", "test")
    (tmp_path / "coco_parts/notes/test.json").unlink()
    with pytest.raises(InputError, match=r"folder of split test, .* file .*test\.json is not"):
        CocoPartsSource().splits(tmp_path)


def test_overlap_takes_the_object_that_holds_most_of_the_part(tmp_path: Path) -> None:
    write_coco_parts(tmp_path, {"train": 2}, "overlap")
    images, _ = read_train(tmp_path)
    _, second = (item for item in images[1].objects if item.category == "coffee_mug")
    height, width = images[1].height, images[1].width
    whole = {"size": [height, width], "counts": [0, height * width]}

    def change(content: dict[str, Any]) -> None:
        notes = {str(note["id"]): note for note in content["annotations"]}
        handles = [part.id for part in images[1].parts if part.name.endswith("handle")]
        notes[handles[0]]["segmentation"] = notes[second.id]["segmentation"]
        notes[handles[1]]["segmentation"] = whole  # most of it in no object

    edit_json(tmp_path / TRAIN, change)
    again, refused = read_train(tmp_path)
    assert [reason for _, _, reason in refused] == [Reason.ORPHAN_PART]
    moved = [part.object_id for part in again[1].parts if part.name.endswith("handle")]
    assert moved == [second.id]


def test_ids_that_begin_anew_in_every_split_are_no_clash(tmp_path: Path) -> None:
    write_coco_parts(tmp_path)
    source = CocoPartsSource()
    ids = [
        image.image_id
        for split in source.splits(tmp_path)
        for image in images_of(read_split(source, tmp_path, split))
    ]
    assert len(set(ids)) == len(ids) == 13


def test_a_build_has_its_names_and_verifies_without_the_source(tmp_path: Path) -> None:
    write_coco_parts(tmp_path, {"train": 6, "test": 6})
    config = BuildConfig(
        sources=("coco_parts",), root=tmp_path, out=tmp_path / "out", min_part_area=0.0
    )
    manifest = build(config, Silent())
    assert manifest["sources"]["coco_parts"]["licence"] == "CC0"
    assert manifest["sources"]["coco_parts"]["comparable"]["mug"] == ["bowl"]
    assert manifest["counts"]["coco_parts"]["train"]["common_parts"] > 0
    (tmp_path / "coco_parts").rename(tmp_path / "gone")
    assert verify(config.out, "deep").listed == []


def test_another_description_is_another_build(tmp_path: Path) -> None:
    write_coco_parts(tmp_path, {"train": 3})
    config = BuildConfig(sources=("coco_parts",), root=tmp_path, out=tmp_path / "out")
    before = make_plan(config).build_id
    text = (tmp_path / YAML).read_text()
    (tmp_path / YAML).write_text(text.replace("name: mug", "name: cup").replace(", mug]", ", cup]"))
    assert make_plan(config).build_id != before


LINE = "link: overlap\n"
BROKEN: dict[str, tuple[str, str]] = {
    "empty": ("", "keys and values"),
    "no yaml": ("a: ]", "coco_parts.yaml:1"),
    "no splits": ("splits:", "keys and values"),
    "unknown split": ("splits: {holdout: {annotations: a, images: b}}", "unknown key 'holdout'"),
    "path leaves": ("splits: {train: {annotations: ../a, images: b}}", "below the folder"),
    "no images": ("splits: {train: {annotations: a}}", "'images' is missing"),
    "link": ("link: magic", "link is"),
    "link key": ("link: {key: image_id}", "means something else"),
    "both": (SEPARATED, "either 'objects' or 'separator'"),
    "no class": ("objects: {}", "no class"),
    "part and object": ("objects: {a: {parts: {b: x}}, b: {parts: {}}}", "an object and a part"),
    "mark in a name": ("objects: {a: {name: 'a </p> b', parts: {}}}", "'</p>' marks a region"),
    "mark in a part": ("objects: {a: {parts: {b: '[SEG]'}}}", "'[SEG]' marks a region"),
    "invisible": ('objects: {a: {parts: {b: "x\\u202e"}}}', "not printable"),
    "class of a group": ("groups: {g: {why: w, classes: [mug, cup]}}", "no class is called 'cup'"),
    "typing error": ("licens: CC0", "unknown key 'licens'"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_bad_description_is_one_error_with_its_line(tmp_path: Path, case: str) -> None:
    write_coco_parts(tmp_path, {"train": 1})
    replaced, words = BROKEN[case]
    if case in ("empty", "no yaml"):
        text = replaced
    else:
        key = replaced.split(":")[0]
        lines = yaml_text("overlap").splitlines()
        kept, skipping = [], False
        for line in lines:
            skipping = line.startswith(f"{key}:") or (skipping and line.startswith(" "))
            if not skipping:
                kept.append(line)
        text = "\n".join([*kept, replaced])
    (tmp_path / YAML).write_text(text)
    with pytest.raises(InputError) as caught:
        CocoPartsSource().splits(tmp_path)
    assert words in str(caught.value)
    assert "coco_parts.yaml" in str(caught.value)
    assert caught.value.exit_code == 3


def test_the_example_of_the_documentation_is_read(tmp_path: Path) -> None:
    page = (DOCS / "coco-parts.md").read_text(encoding="utf-8")
    (tmp_path / "coco_parts").mkdir()
    (tmp_path / YAML).write_text(page.split("```yaml\n")[1].split("```")[0], encoding="utf-8")
    known = manifest_of("coco_parts", tmp_path)
    assert known is not None
    assert known.comparable("mug", "bowl")
    report = source_report("coco_parts", tmp_path)
    assert "mug: body, handle" in report.text
    assert "tableware" in report.text


def test_union_wants_parts_of_one_class(tmp_path: Path) -> None:
    write_coco_parts(tmp_path, {"train": 1})
    objects = "objects: {a: {parts: {head: head}}, b: {parts: {head: head}}}\n"
    (tmp_path / YAML).write_text(yaml_text("union", objects))
    with pytest.raises(InputError, match="part of a and b"):
        CocoPartsSource().splits(tmp_path)
    (tmp_path / YAML).write_text(yaml_text("overlap", objects))
    assert CocoPartsSource().splits(tmp_path) == ("train",)


@pytest.mark.parametrize(
    ("separator", "words"),
    [('"/"', "no category"), ("5", "must be text"), ('""', "must be text"), ("", "must be text")],
)
def test_a_separator_that_takes_nothing_apart_is_an_error(
    tmp_path: Path, separator: str, words: str
) -> None:
    write_coco_parts(tmp_path, {"train": 1}, classes=f"separator: {separator}\n")
    with pytest.raises(InputError, match=words):
        CocoPartsSource().splits(tmp_path)
