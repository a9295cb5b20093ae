"""What is the full ADE20K's own: true links, part instances, visible pixels, MATLAB's JSON."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from builders.ade20k_full import Ade20kFullSource
from mixedparts import masks
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.plan import make_plan
from mixedparts.records import ImageRecord, Level, Reason, Reject
from mixedparts.sources.manifests import load_manifest
from tests.builders.conformance import (
    SourceConformance,
    accounted,
    images_of,
    read_split,
    rejects_of,
)
from tests.factories.ade20k_full import LATIN, RIM, write_ade20k_full
from tests.factories.faults import literal
from tests.factories.scenes import NativeImage

Note = dict[str, Any]
OUTSIDE = Reason.OUTSIDE_VOCABULARY


def edit(root: Path, image: NativeImage, change: Callable[[Note], Any]) -> Path:
    """Change the annotation of one image in place."""
    path = (root / image.path).with_suffix(".json")
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content["annotation"])
    text = json.dumps(content).replace(f'"{literal("1e999")}"', "1e999")
    path.write_text(text, encoding="utf-8")
    return path


def read_train(root: Path) -> tuple[list[ImageRecord], list[Reject]]:
    """Return images, and rejects other than those of what the vocabulary leaves out."""
    outcomes = read_split(Ade20kFullSource(), root, "train")
    return images_of(outcomes), [r for r in rejects_of(outcomes) if r.reason is not OUTSIDE]


@pytest.fixture
def written(tmp_path: Path) -> list[NativeImage]:
    return write_ade20k_full(tmp_path, 2, 0)


class TestAde20kFullConformance(SourceConformance):
    name = "ade20k_full"
    sharing = (("train",), ("validation", "test"))
    one_file_an_image = True

    def write(self, root: Path) -> dict[str, tuple[int, int]]:
        written = write_ade20k_full(root)

        def break_some(note: Note) -> None:
            note["object"][3]["instance_mask"] = note["object"][3]["polygon"] = []
            note["object"] += [None, note["object"][0], {"id": 77}]

        edit(root, written[0], break_some)
        edit(root, written[6], lambda note: note.update(imsize=[5, 5, 3]))
        found = {}
        for split in ("train", "validation"):
            paths = [(root / i.path).with_suffix(".json") for i in written if i.split == split]
            notes = [json.loads(path.read_text())["annotation"] for path in paths]
            found[split] = (len(notes), sum(len(note["object"]) for note in notes))
        return found


def test_masks_names_and_links_are_those_written(tmp_path: Path) -> None:
    expected = {image.image_id: image for image in write_ade20k_full(tmp_path)}
    source = Ade20kFullSource()
    outcomes = [o for s in source.splits(tmp_path) for o in read_split(source, tmp_path, s)]
    assert {r.reason for r in rejects_of(outcomes)} == {OUTSIDE}
    assert len(rejects_of(outcomes)) == 3 * len(expected)  # building, its window, a rim
    assert {image.image_id for image in images_of(outcomes)} == set(expected)
    for image in images_of(outcomes):
        wanted = expected[image.image_id]
        assert image.path == wanted.path
        assert [item.category for item in image.objects] == [o.category for o in wanted.objects]
        for item, native in zip(image.objects, wanted.objects, strict=True):
            assert np.array_equal(masks.decode(item.mask), native.mask)
            parts = [part for part in image.parts if part.object_id == item.id]
            assert [part.name for part in parts] == [part.name for part in native.parts]
            for part, native_part in zip(parts, native.parts, strict=True):
                assert np.array_equal(masks.decode(part.mask), native_part.mask)


def test_a_part_of_a_part_belongs_to_the_object_and_a_lone_door_is_an_object(
    tmp_path: Path, written: list[NativeImage]
) -> None:
    before, _ = read_train(tmp_path)
    car = next(item.id for item in before[0].objects if item.category == "car")

    def change(note: Note) -> None:
        rim = next(o for o in note["object"] if o["name_ndx"] == RIM)
        rim["name_ndx"] = 1564  # a mirror on a door or wheel of the car
        note["object"][1]["name_ndx"] = 774  # a door of the building, which is none of the 44

    edit(tmp_path, written[0], change)
    images, refused = read_train(tmp_path)
    assert not refused
    assert ("mirror", car) in {(part.name, part.object_id) for part in images[0].parts}
    assert {item.category for item in images[0].objects} == {"car", "person", "door"}


@pytest.mark.parametrize(
    "owners", [999, [999], "999", "itself", "a ring"], ids=lambda owners: str(owners)
)
def test_a_part_whose_owner_is_missing_is_an_orphan(
    tmp_path: Path, written: list[NativeImage], owners: Any
) -> None:
    def change(note: Note) -> None:
        part = note["object"][3]
        above = {"itself": 3, "a ring": 4}.get(str(owners), owners)
        part["parts"]["ispartof"] = above
        note["object"][4]["parts"]["ispartof"] = 3  # the rim, on top of the part

    edit(tmp_path, written[0], change)
    _, refused = read_train(tmp_path)
    assert ("3", Level.PART, Reason.ORPHAN_PART) in {
        (r.record_id, r.level, r.reason) for r in refused
    }


def test_parts_of_a_refused_object_are_orphans(tmp_path: Path, written: list[NativeImage]) -> None:
    before, _ = read_train(tmp_path)
    car = before[0].objects[0].id
    lost = [part.id for part in before[0].parts if part.object_id == car]

    def change(note: Note) -> None:
        note["object"][int(car)].update(instance_mask="", polygon={})

    edit(tmp_path, written[0], change)
    images, refused = read_train(tmp_path)
    assert [(r.record_id, r.reason) for r in refused] == [
        (car, Reason.MISSING_MASK),
        *((part, Reason.ORPHAN_PART) for part in lost),
    ]
    assert [item.category for item in images[0].objects] == ["person"]


@pytest.mark.parametrize("fault", ["absent", "cut", "other size", "colours", "named nowhere"])
def test_without_its_png_an_instance_is_its_outline_in_the_class_map(
    tmp_path: Path, written: list[NativeImage], fault: str
) -> None:
    before, _ = read_train(tmp_path)
    image = written[0]
    folder = (tmp_path / image.path).with_suffix("")
    for name in (2, 3):  # an object and a part
        path = folder / f"instance_{name:03d}_{image.image_id}.png"
        content = path.read_bytes()
        path.unlink()
        if fault == "cut":
            path.write_bytes(content[:-30])
        elif fault == "other size":
            Image.new("L", (image.width, image.height + 1)).save(path)
        elif fault == "colours":
            Image.new("RGB", (image.width, image.height)).save(path)
        elif fault == "named nowhere":
            edit(tmp_path, image, lambda note, n=name: note["object"][n].update(instance_mask=[]))
    images, refused = read_train(tmp_path)
    note = (image.image_id, Level.IMAGE, Reason.UNREADABLE_OBJECT_MAP)
    assert [(r.record_id, r.level, r.reason) for r in refused] == [note]
    assert "2 by outline" in refused[0].detail
    # The written outlines are rectangles, the polygon's goes on where the object is hidden: what
    # is left of it inside the class map is what was written.
    assert images == before


def test_without_png_and_class_map_there_is_no_mask(
    tmp_path: Path, written: list[NativeImage]
) -> None:
    image = written[0]
    folder = (tmp_path / image.path).with_suffix("")
    shutil.rmtree(folder)
    folder.with_name(f"{image.image_id}_seg.png").write_bytes(b"broken")
    images, refused = read_train(tmp_path)
    reasons = Counter((r.level, r.reason) for r in refused)
    assert reasons[Level.OBJECT, Reason.MISSING_MASK] == 2
    assert reasons[Level.PART, Reason.ORPHAN_PART] == sum(len(o.parts) for o in image.objects)
    assert images[0].objects == ()


def test_what_is_wholly_hidden_has_no_mask(tmp_path: Path, written: list[NativeImage]) -> None:
    image = written[0]
    path = (tmp_path / image.path).with_suffix("") / f"instance_003_{image.image_id}.png"
    Image.new("L", (image.width, image.height), 128).save(path)
    _, refused = read_train(tmp_path)
    assert [(r.record_id, r.reason) for r in refused] == [("3", Reason.EMPTY_MASK)]


def test_matlab_writes_one_for_a_list_of_one(tmp_path: Path, written: list[NativeImage]) -> None:
    def alone(note: Note) -> None:
        note["object"] = note["object"][2] | {"name_ndx": "401", "id": "2"}
        note["object"]["name_ndx"] = 401
        note["imsize"] = [float(n) for n in note["imsize"]]
        note["scene"] = "street"

    path = edit(tmp_path, written[0], alone)
    text = path.read_text(encoding="utf-8").replace("caf\\u00e9", LATIN)
    path.write_bytes(text.encode("latin-1"))
    images, refused = read_train(tmp_path)
    assert not refused
    assert [(item.id, item.category) for item in images[0].objects] == [("2", "car")]
    assert images[0].parts == ()


BROKEN_RECORDS: list[Any] = [
    None, [], 7, "text", {}, {"id": 3}, {"id": 3, "name_ndx": "wheel"},
    {"id": [3], "name_ndx": 401},
    {"id": None, "name_ndx": 401}, {"id": 3, "name_ndx": 1.5},
    {"id": 3, "name_ndx": literal("1e999")}, {"id": 3, "name_ndx": float("nan")},
    {"id": 3, "name_ndx": 401, "parts": {"ispartof": [1, 2]}},
    {"id": 3, "name_ndx": 401, "parts": {"ispartof": {"a": 1}}},
    {"id": 3, "name_ndx": 401, "parts": {"ispartof": [[2]]}},
]  # fmt: skip


@pytest.mark.parametrize("record", BROKEN_RECORDS, ids=repr)
def test_a_broken_record_is_one_reject(
    tmp_path: Path, written: list[NativeImage], record: Any
) -> None:
    before, _ = read_train(tmp_path)
    count = len(json.loads((tmp_path / written[0].path).with_suffix(".json").read_text())
                ["annotation"]["object"])  # fmt: skip

    def change(note: Note) -> None:
        note["object"][3] = record

    edit(tmp_path, written[0], change)
    outcomes = read_split(Ade20kFullSource(), tmp_path, "train")
    malformed = [r for r in rejects_of(outcomes) if r.reason is Reason.MALFORMED_RECORD]
    assert [r.record_id for r in malformed] == ["3"]
    assert accounted([o for o in outcomes if file_of(o) == written[0].image_id]) == {
        "images": 1,
        "annotations": count,
    }
    assert images_of(outcomes)[1] == before[1]


def file_of(outcome: ImageRecord | Reject) -> str:
    return outcome.image_id if isinstance(outcome, ImageRecord) else Path(outcome.file).stem


ODD_RECORDS: list[dict[str, Any]] = [
    {"parts": None}, {"parts": 5}, {"parts": {}}, {"polygon": "x"},
    {"polygon": {"x": [1], "y": []}},
    {"polygon": {"x": 5, "y": None}}, {"hypernym": None}, {"attributes": "walking"}, {"crop": 1},
    {"occluded": "yes"}, {"saved_date": 5},
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD_RECORDS, ids=repr)
def test_odd_values_of_what_is_not_needed_refuse_nothing(
    tmp_path: Path, written: list[NativeImage], odd: dict[str, Any]
) -> None:
    before, _ = read_train(tmp_path)
    edit(tmp_path, written[0], lambda note: note["object"][2].update(odd))
    assert read_train(tmp_path) == (before, [])


BROKEN_IMAGES: list[tuple[dict[str, Any], Reason]] = [
    *(({"imsize": size}, Reason.MALFORMED_RECORD)
      for size in (None, [], [64], "64", [0, 0, 3], [-1, 9, 3], [1.5, 9], [10**9] * 2, {"a": 1})),
    ({"imsize": [7, 9, 3]}, Reason.SIZE_MISMATCH),
    ({"filename": "../x.jpg"}, Reason.UNSAFE_PATH),
    ({"filename": "absent.jpg"}, Reason.MISSING_IMAGE),
]  # fmt: skip


@pytest.mark.parametrize(("change", "reason"), BROKEN_IMAGES, ids=repr)
def test_a_broken_image_takes_its_records_along(
    tmp_path: Path, written: list[NativeImage], change: dict[str, Any], reason: Reason
) -> None:
    before = read_split(Ade20kFullSource(), tmp_path, "train")
    edit(tmp_path, written[0], lambda note: note.update(change))
    outcomes = read_split(Ade20kFullSource(), tmp_path, "train")
    assert images_of(outcomes) == images_of(before)[1:]
    refused = [r for r in rejects_of(outcomes) if Path(r.file).stem == written[0].image_id]
    assert [(r.record_id, r.level, r.reason) for r in refused[:1]] == [
        (written[0].image_id, Level.IMAGE, reason)
    ]
    assert {r.reason for r in refused[1:]} == {Reason.IMAGE_REJECTED}
    assert accounted(outcomes) == accounted(before)


def test_a_stem_of_two_scenes_counts_once_and_forks_are_no_files(
    tmp_path: Path, written: list[NativeImage]
) -> None:
    before, _ = read_train(tmp_path)
    path = (tmp_path / written[0].path).with_suffix(".json")
    other = path.parent.with_name("zoo") / path.name
    other.parent.mkdir()
    shutil.copy(path, other)
    path.with_name(f"._{path.name}").write_bytes(b"fork")
    images, refused = read_train(tmp_path)
    assert images == before
    assert [(r.record_id, r.reason) for r in refused] == [
        (written[0].image_id, Reason.DUPLICATE_ID)
    ]


def test_an_image_is_in_the_split_that_part_234_gives_it(tmp_path: Path) -> None:
    from builders.formats.val_test_split import val_or_test

    written = write_ade20k_full(tmp_path, 1, 12)
    source = Ade20kFullSource()
    for split in ("validation", "test"):
        found = {image.image_id for image in images_of(read_split(source, tmp_path, split))}
        assert (
            found == {i.image_id for i in written[1:] if val_or_test(i.image_id) == split} != set()
        )
        official = images_of(read_split(source, tmp_path, split, "official"))
        assert len(official) == 12


def test_a_change_inside_any_annotation_is_another_build(
    tmp_path: Path, written: list[NativeImage]
) -> None:
    config = BuildConfig(sources=("ade20k_full",), root=tmp_path, out=tmp_path / "out")
    before = make_plan(config).build_id
    path = (tmp_path / written[1].path).with_suffix(".json")
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"id": 1,', b'"id": 9,'))
    assert len(path.read_bytes()) == len(content)
    assert make_plan(config).build_id != before
    path.write_bytes(content)
    assert make_plan(config).build_id == before


def test_names_and_groups_are_those_of_part_234() -> None:
    full, part_234 = load_manifest("ade20k_full"), load_manifest("ade20k")
    assert full.objects.keys() == part_234.objects.keys()
    for key, item in full.objects.items():
        other = part_234.objects[key]
        assert item.name == other.name
        assert [(p.native, p.name) for p in item.parts] == [(p.native, p.name) for p in other.parts]
    assert [g.classes for g in full.groups] == [g.classes for g in part_234.groups]
