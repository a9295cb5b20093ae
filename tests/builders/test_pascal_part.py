"""What is PASCAL-Part's own: MATLAB files, lists of images, numbered and sided part names."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from mixedparts import masks
from mixedparts.entities.normalise import Names
from mixedparts.errors import EnvironmentFault, InputError
from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.progress import Silent
from mixedparts.records import ImageRecord, Level, Reason
from mixedparts.sources.manifests import load_manifest
from mixedparts.verification.verify import verify
from tests.builders.conformance import (
    SourceConformance,
    accounted,
    images_of,
    read_split,
    rejects_of,
)
from tests.factories.pascal_part import LISTS, NOTES, PICTURES, entry, write_mat, write_pascal_part
from tests.factories.scenes import NativeImage

pytest.importorskip("scipy.io")
from builders.pascal_part import PascalPartSource, _loadmat

Refused = list[tuple[str, Level, Reason]]


def records(image: NativeImage) -> int:
    return sum(1 + len(item.parts) for item in image.objects)


class TestPascalPartConformance(SourceConformance):
    name = "pascal_part"
    sharing = (("train",), ("validation", "test"))
    one_file_an_image = True

    def write(self, root: Path) -> dict[str, tuple[int, int]]:
        written = write_pascal_part(root, {"train": 5, "val": 8})
        objects = [entry(item) for item in written[1].objects]
        objects[0]["mask"] = objects[0]["mask"][:-1]
        write_mat(root / NOTES / f"{written[1].image_id}.mat", "odd", objects)
        with (root / LISTS / "train.txt").open("a") as file:
            file.write(f"\n../secret\n{written[0].image_id}  -1\n")
        (root / PICTURES / f"{written[7].image_id}.jpg").write_bytes(b"broken")
        found = {}
        for split in ("train", "validation"):
            mine = [image for image in written if image.split == split]
            found[split] = (len(mine), sum(records(image) for image in mine))
        images, annotations = found["train"]
        return found | {"train": (images + 2, annotations)}


@pytest.fixture
def written(tmp_path: Path) -> list[NativeImage]:
    return write_pascal_part(tmp_path, {"train": 4})


def read_train(root: Path) -> tuple[list[ImageRecord], Refused]:
    outcomes = read_split(PascalPartSource(), root, "train")
    return images_of(outcomes), [(r.record_id, r.level, r.reason) for r in rejects_of(outcomes)]


def test_masks_and_names_are_those_written(tmp_path: Path, written: list[NativeImage]) -> None:
    images, refused = read_train(tmp_path)
    assert not refused
    for image, wanted in zip(images, written, strict=True):
        assert (image.path, image.width, image.height) == (wanted.path, wanted.width, wanted.height)
        assert [item.category for item in image.objects] == [o.category for o in wanted.objects]
        for item, native in zip(image.objects, wanted.objects, strict=True):
            assert np.array_equal(masks.decode(item.mask), native.mask)
            parts = [part for part in image.parts if part.object_id == item.id]
            assert [part.name for part in parts] == [part.name for part in native.parts]
            for part, native_part in zip(parts, native.parts, strict=True):
                assert np.array_equal(masks.decode(part.mask), native_part.mask)


@pytest.mark.parametrize(
    ("key", "native", "name"),
    [
        ("dog", "lfleg", "leg"),
        ("dog", "rear", "ear"),
        ("cow", "rblleg", "leg"),
        ("person", "luarm", "arm"),
        ("person", "lebrow", "eyebrow"),
        ("horse", "lbho", "hoof"),
        ("aeroplane", "engine", "engine"),
        ("bus", "bliplate", "license plate"),
        ("train", "cleftside", "side"),
    ],
)
def test_sides_and_codes_become_words(key: str, native: str, name: str) -> None:
    assert Names(load_manifest("pascal_part")).part(key, native) == name


def test_no_code_is_left_among_the_names() -> None:
    words = set(load_manifest("pascal_part").part_names())
    assert not {word for word in words if word[0] in "lr" and word[1:] in words}
    assert not {word for word in words if word.endswith("side") and word != "side"}


def broken_objects(good: dict[str, Any]) -> dict[str, tuple[dict[str, Any], Refused]]:
    """Return ways to break the first object, and what is refused of it."""
    shape, dtype = good["mask"].shape, np.uint8
    orphans = [(f"0:{n}", Level.PART, Reason.ORPHAN_PART) for n in range(len(good["parts"]))]

    def refused(reason: Reason) -> Refused:
        return [("0", Level.OBJECT, reason), *orphans]

    return {
        "no class": (good | {"class": np.zeros((0, 0))}, refused(Reason.MALFORMED_RECORD)),
        "a number as class": (good | {"class": 5.0}, refused(Reason.MALFORMED_RECORD)),
        "unknown class": (good | {"class": "diningtable"}, refused(Reason.UNKNOWN_CATEGORY)),
        "no mask": (good | {"mask": np.zeros((0, 0))}, refused(Reason.MISSING_MASK)),
        "text as mask": (good | {"mask": "mask"}, refused(Reason.MISSING_MASK)),
        "empty": (good | {"mask": np.zeros(shape, dtype)}, refused(Reason.EMPTY_MASK)),
        "turned": (good | {"mask": good["mask"].T.copy()}, refused(Reason.MASK_SIZE_MISMATCH)),
        "layers": (
            good | {"mask": np.ones((*shape, 3), dtype)},
            refused(Reason.MASK_SIZE_MISMATCH),
        ),
        "complex": (good | {"mask": np.full(shape, 1j)}, refused(Reason.INVALID_MASK)),
    }


BROKEN_OBJECTS = (
    "no class", "a number as class", "unknown class", "no mask", "text as mask", "empty", "turned",
    "layers", "complex",
)  # fmt: skip


@pytest.mark.parametrize("case", BROKEN_OBJECTS)
def test_a_broken_object_takes_its_parts_along(
    tmp_path: Path, written: list[NativeImage], case: str
) -> None:
    before, _ = read_train(tmp_path)
    native = written[1]
    objects = [entry(item) for item in native.objects]
    objects[0], expected = broken_objects(objects[0])[case]
    write_mat(tmp_path / NOTES / f"{native.image_id}.mat", native.image_id, objects)
    images, refused = read_train(tmp_path)
    assert refused == expected
    assert images[0] == before[0]
    assert [item.category for item in images[1].objects] == [native.objects[1].category]


BROKEN_PARTS: dict[str, tuple[dict[str, Any], Reason]] = {
    "no name": ({"part_name": np.zeros((0, 0))}, Reason.MALFORMED_RECORD),
    "a number as name": ({"part_name": 5.0}, Reason.MALFORMED_RECORD),
    "unknown": ({"part_name": "fin"}, Reason.UNKNOWN_CATEGORY),
    "of another class": ({"part_name": "engine_1"}, Reason.PART_CLASS_MISMATCH),
    "no mask": ({"mask": np.zeros((0, 0))}, Reason.MISSING_MASK),
    "other size": ({"mask": np.ones((3, 4), np.uint8)}, Reason.MASK_SIZE_MISMATCH),
}


@pytest.mark.parametrize("case", BROKEN_PARTS)
def test_a_broken_part_is_one_reject(tmp_path: Path, written: list[NativeImage], case: str) -> None:
    before, _ = read_train(tmp_path)
    native = written[1]
    objects = [entry(item) for item in native.objects]
    change, reason = BROKEN_PARTS[case]
    objects[0]["parts"][0] |= change
    write_mat(tmp_path / NOTES / f"{native.image_id}.mat", native.image_id, objects)
    outcomes = read_split(PascalPartSource(), tmp_path, "train")
    assert [(r.record_id, r.level, r.reason) for r in rejects_of(outcomes)] == [
        ("0:0", Level.PART, reason)
    ]
    assert images_of(outcomes)[1].parts == before[1].parts[1:]
    assert accounted(outcomes)["annotations"] == sum(records(image) for image in written)


def test_objects_without_parts_and_single_ones_are_read(
    tmp_path: Path, written: list[NativeImage]
) -> None:
    native = written[1]
    lone = entry(native.objects[0])
    lone["parts"] = lone["parts"][:1]
    path = tmp_path / NOTES / f"{native.image_id}.mat"
    write_mat(path, native.image_id, [lone])
    images, refused = read_train(tmp_path)
    assert not refused
    assert (len(images[1].objects), len(images[1].parts)) == (1, 1)
    write_mat(path, native.image_id, [])
    images, refused = read_train(tmp_path)
    assert not refused
    assert images[1].objects == images[1].parts == ()


def test_masks_of_any_number_type_and_any_value_but_zero(
    tmp_path: Path, written: list[NativeImage]
) -> None:
    before, _ = read_train(tmp_path)
    native = written[1]
    for kind, value in ((np.float64, 1.0), (np.uint8, 255), (np.bool_, True), (np.int16, -1)):
        objects = [entry(item) for item in native.objects]
        objects[0]["mask"] = (objects[0]["mask"] > 0).astype(kind) * kind(value)
        write_mat(tmp_path / NOTES / f"{native.image_id}.mat", native.image_id, objects)
        assert read_train(tmp_path) == (before, [])


def test_a_listed_image_without_annotation_is_told(
    tmp_path: Path, written: list[NativeImage]
) -> None:
    (tmp_path / NOTES / f"{written[0].image_id}.mat").unlink()
    images, refused = read_train(tmp_path)
    assert refused == [(written[0].image_id, Level.IMAGE, Reason.MISSING_ANNOTATION)]
    assert len(images) == 3


def test_an_annotation_that_no_list_names_is_left_alone(
    tmp_path: Path, written: list[NativeImage]
) -> None:
    before, _ = read_train(tmp_path)
    (tmp_path / LISTS / "train.txt").write_text(f"{written[2].image_id}\n")
    assert read_train(tmp_path) == ([before[2]], [])


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe\x00", b"../a\n/b\n"])
def test_a_list_that_names_nothing_is_one_error(
    tmp_path: Path, written: list[NativeImage], content: bytes
) -> None:
    (tmp_path / LISTS / "train.txt").write_bytes(content)
    with pytest.raises(InputError, match=r"train\.txt") as caught:
        PascalPartSource().plan(tmp_path, "train", 5, "")
    assert caught.value.exit_code == 3
    assert caught.value.hint


def test_an_archive_s_own_folder_may_stay(tmp_path: Path, written: list[NativeImage]) -> None:
    before, _ = read_train(tmp_path)
    (tmp_path / "PascalPart/trainval").mkdir()
    (tmp_path / NOTES).rename(tmp_path / "PascalPart/trainval/Annotations_Part")
    assert read_train(tmp_path) == (before, [])


def test_a_build_compares_animals_by_words(tmp_path: Path) -> None:
    write_pascal_part(tmp_path, {"train": 12, "val": 12})
    config = BuildConfig(
        sources=("pascal_part",), root=tmp_path, out=tmp_path / "out", min_part_area=0.0
    )
    build(config, Silent())
    rows = [
        row
        for path in sorted((config.out / "pairs").glob("*.parquet"))
        for row in pq.read_table(path, columns=["objects", "parts"]).to_pylist()
    ]
    pairs = {frozenset(item["category"] for item in row["objects"]) for row in rows}
    assert {frozenset({"cow", "dog"}), frozenset({"airplane"})} <= pairs
    assert not {pair for pair in pairs if "person" in pair and len(pair) > 1}
    names = {part["name"] for row in rows for part in row["parts"]}
    assert {"eye", "ear", "head", "wing"} <= names <= set(known_words())
    assert verify(config.out, "deep").listed == []


def known_words() -> tuple[str, ...]:
    return load_manifest("pascal_part").part_names()


def test_without_scipy_the_error_names_the_extra(
    tmp_path: Path, written: list[NativeImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    _loadmat.cache_clear()
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(EnvironmentFault) as caught:
        PascalPartSource().plan(tmp_path, "train", 5, "")
    assert "mixedparts[pascal]" in str(caught.value)
    assert caught.value.exit_code == 3
    _loadmat.cache_clear()
