"""Instances become entities: unions by canonical name, filters by share of the image."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from pycocotools import mask as coco_mask

from mixedparts import masks
from mixedparts.entities.normalise import (
    FilterCounts,
    Filters,
    Names,
    entities_of,
    entities_of_images,
    plain,
)
from mixedparts.entities.table import entity_rows
from mixedparts.masks import Rle
from mixedparts.records import ImageRecord, ObjectInstance, PartInstance
from mixedparts.sources.manifests import load_manifest
from mixedparts.storage.schema import ENTITIES

HEIGHT, WIDTH = 50, 100


def box(x: int, y: int, w: int, h: int) -> Rle:
    dense = np.zeros((HEIGHT, WIDTH), np.uint8)
    dense[y : y + h, x : x + w] = 1
    return masks.from_dense(dense)


def record(objects: list[ObjectInstance], parts: list[PartInstance]) -> ImageRecord:
    return ImageRecord(
        "ade20k", "train", "i", "i.jpg", "i.jpg", WIDTH, HEIGHT, tuple(objects), tuple(parts)
    )


def test_instances_and_parts_of_one_name_are_united() -> None:
    chairs = [
        ObjectInstance("1", "chair", box(0, 0, 20, 20)),
        ObjectInstance("2", "chair", box(10, 10, 20, 20)),
    ]
    parts = [
        PartInstance("3", "1", "seat", box(0, 0, 5, 5)),
        PartInstance("4", "2", "seat cushion", box(20, 20, 5, 5)),
        PartInstance("5", "2", "leg", box(22, 22, 3, 6)),
    ]
    names = Names(load_manifest("ade20k"))
    (chair,) = entities_of(record(chairs, parts), names, Filters(), FilterCounts())
    assert chair.region.name == "chair"
    wanted = coco_mask.merge([item.mask.to_coco() for item in chairs])
    assert chair.region.mask.counts == wanted["counts"]
    assert chair.region.area == 20 * 20 * 2 - 10 * 10
    assert chair.region.bbox == (0.0, 0.0, 30.0, 30.0)
    assert [(part.name, part.area) for part in chair.parts] == [("leg", 18), ("seat", 50)]


@pytest.mark.parametrize(("pixels", "kept"), [(100, True), (99, False)])
def test_an_entity_at_the_limit_is_kept(pixels: int, kept: bool) -> None:
    dense = np.zeros(HEIGHT * WIDTH, np.uint8)
    dense[:pixels] = 1  # 2 % of 5,000 pixels are 100
    objects = [ObjectInstance("1", "car", masks.from_dense(dense.reshape(HEIGHT, WIDTH)))]
    dropped = FilterCounts()
    found = entities_of(record(objects, []), Names(None), Filters(), dropped)
    assert len(found) == kept
    assert dropped.objects == (not kept)


@pytest.mark.parametrize(("height", "seen"), [(5, True), (4, False)])
def test_a_part_at_the_limit_is_visible(height: int, seen: bool) -> None:
    objects = [ObjectInstance("1", "car", box(0, 0, 50, 50))]
    parts = [PartInstance("2", "1", "wheel", box(3, 3, 1, height))]  # 0.1 % are 5 pixels
    dropped = FilterCounts()
    (car,) = entities_of(record(objects, parts), Names(None), Filters(), dropped)
    assert len(car.parts) == seen
    assert dropped.parts == (not seen)


def test_small_instances_count_together() -> None:
    objects = [ObjectInstance(str(k), "car", box(10 * k, 0, 5, 10)) for k in range(2)]
    assert entities_of(record(objects, []), Names(None), Filters(), FilterCounts())


def test_images_in_one_call_give_what_each_gives_alone() -> None:
    rng = np.random.default_rng(0)
    records = []
    for number in range(9):
        objects = [
            ObjectInstance(
                f"{k}", str(rng.choice(["car", "dog", "boat"])), box(*rng.integers(5, 40, 4))
            )
            for k in range(number)
        ]
        parts = [
            PartInstance(
                f"p{k}",
                f"{rng.integers(max(1, number))}",
                f"part {k % 3}",
                box(*rng.integers(0, 9, 4)),
            )
            for k in range(2 * number)
        ]
        records.append(record(objects, parts))
    together, alone = FilterCounts(), FilterCounts()
    filters = Filters(min_object_area=0.05)
    found = entities_of_images(records, Names(None), filters, together)
    assert found == [entities_of(item, Names(None), filters, alone) for item in records]
    assert together == alone
    assert together.objects
    assert together.parts
    assert any(len(entities) > 1 for entities in found)


def test_a_class_that_the_profile_drops_is_counted_and_gone() -> None:
    boat, dog = "n04147183", "n02099601"
    objects = [
        ObjectInstance("1", boat, box(0, 0, 50, 50)),
        ObjectInstance("2", dog, box(0, 0, 9, 50)),
    ]
    parts = [
        PartInstance("3", "1", "Sail", box(0, 0, 9, 9)),
        PartInstance("4", "2", "Head", box(0, 0, 9, 9)),
    ]
    for profile, kept, gone in (("full", ["dog", "sailboat"], 0), ("published", ["dog"], 1)):
        dropped = FilterCounts()
        names = Names(load_manifest("partimagenet", profile))
        found = entities_of(record(objects, parts), names, Filters(), dropped)
        assert [entity.region.name for entity in found] == kept
        assert [part.name for entity in found for part in entity.parts][:1] == ["head"]
        assert (dropped.objects, dropped.parts) == (gone, 0)


def test_names_come_from_the_manifest_or_plainly() -> None:
    names = Names(load_manifest("paco"))
    assert names.category("car_(automobile)") == "car"
    assert names.part("trash_can", "inner_body") == "inner body"
    assert plain("Side_Mirror  left") == "side mirror left"


def test_rows_of_entities_are_what_arrow_makes_of_dicts() -> None:
    objects = [
        ObjectInstance("1", "car", box(0, 0, 20, 20)),
        ObjectInstance("2", "dog", box(30, 5, 20, 20)),
    ]
    parts = [PartInstance(f"{k}", "1", f"part {k}", box(k, k, 4, 9)) for k in range(3)]
    read = [
        (item, 10 + number, entities_of(item, Names(None), Filters(), FilterCounts()))
        for number, item in enumerate([record(objects, parts), record(objects[1:], [])])
    ]
    rows = [
        {
            **{name: getattr(item, name) for name in ("source", "image_id", "file_name", "path")},
            "file_bytes": size,
            "width": WIDTH,
            "height": HEIGHT,
            "category": entity.region.name,
            "counts": entity.region.mask.counts.decode(),
            "bbox": entity.region.bbox,
            "area": entity.region.area,
            "parts_known": True,
            "parts": [
                {"name": p.name, "counts": p.mask.counts.decode(), "bbox": p.bbox, "area": p.area}
                for p in entity.parts
            ],
        }
        for item, size, entities in read
        for entity in entities
    ]
    assert [len(row["parts"]) for row in rows] == [3, 0, 0]
    assert entity_rows(read).equals(pa.Table.from_pylist(rows, schema=ENTITIES))
    assert entity_rows([]).equals(pa.Table.from_pylist([], schema=ENTITIES))
