"""Whatever is changed in a row of `pairs`, verification names it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mixedparts.records import Task
from mixedparts.sources.manifests import load_manifest
from mixedparts.verification.findings import Rule
from mixedparts.verification.verify import verify
from tests.factories.forger import Row, change_area, flip_bit, forge_row, rewrite
from tests.oracles.build_tables import iter_rows


def first(rows: list[Row], task: str) -> Row:
    return next(row for row in rows if row["task"] == task)


# Changes of rows of `pairs`; each returns the id of the row that must be named.


def flip_mask_bit(rows: list[Row]) -> str:
    flip_bit(rows[0]["objects"][0], measured=False)
    return str(rows[0]["id"])


def flip_part_bit_and_measure(rows: list[Row]) -> str:
    row = first(rows, "common_parts")
    flip_bit(row["parts"][1], measured=True)
    return str(row["id"])


def cut_mask(rows: list[Row]) -> str:
    mask = rows[0]["objects"][1]["mask"]
    mask["counts"] = mask["counts"][:-1]
    return str(rows[0]["id"])


def turn_mask(rows: list[Row]) -> str:
    rows[0]["objects"][0]["mask"]["size"].reverse()
    return str(rows[0]["id"])


def change_box(rows: list[Row]) -> str:
    rows[0]["objects"][0]["bbox"][2] += 1.0
    return str(rows[0]["id"])


def drop_part(rows: list[Row]) -> str:
    row = first(rows, "common_parts")
    row["parts"].pop()
    row["seg"].pop()
    return str(row["id"])


def drop_part_everywhere(rows: list[Row]) -> str:
    """Drop a unique part from masks, [SEG] and answer, so that the row by itself is right."""
    row = next(r for r in rows if r["task"] == "unique_parts" and len(r["parts"]) == 2)
    part = row["parts"].pop()
    row["seg"].pop()
    head, _, _ = row["answer"].rpartition(f" and <p> the {part['name']} </p>")
    row["answer"] = head + "."
    return str(row["id"])


def swap_parts(rows: list[Row]) -> str:
    row = next(r for r in rows if r["task"] == "unique_parts" and len(r["parts"]) > 1)
    row["parts"][0], row["parts"][1] = row["parts"][1], row["parts"][0]
    row["seg"][2], row["seg"][3] = row["seg"][3], row["seg"][2]
    return str(row["id"])


def rename_part(rows: list[Row]) -> str:
    row = first(rows, "unique_parts")
    row["parts"][0]["name"] = "antenna"
    return str(row["id"])


def rename_object_everywhere(rows: list[Row]) -> str:
    row = first(rows, "common_object")
    name = row["objects"][0]["category"]
    for item in row["objects"]:
        item["category"] = "teapot"
    row["answer"] = row["answer"].replace(f" {name} </p>", " teapot </p>")
    return str(row["id"])


def change_kind(rows: list[Row]) -> str:
    row = first(rows, "common_parts")
    row["parts"][0]["kind"] = "unique"
    return str(row["id"])


def change_task(rows: list[Row]) -> str:
    row = first(rows, "common_parts")
    row["task"] = "unique_parts"
    return str(row["id"])


def edit_answer(rows: list[Row]) -> str:
    row = first(rows, "common_object")
    row["answer"] = row["answer"].replace("<p> a", "<p> an odd")
    return str(row["id"])


def swap_tags(rows: list[Row]) -> str:
    row = first(rows, "common_object")
    answer = row["answer"].replace("(IMAGE1)", "(IMAGE0)").replace("(IMAGE2)", "(IMAGE1)")
    row["answer"] = answer.replace("(IMAGE0)", "(IMAGE2)")
    return str(row["id"])


def lose_tag(rows: list[Row]) -> str:
    rows[0]["answer"] = rows[0]["answer"].replace("(IMAGE1)", "", 1)
    return str(rows[0]["id"])


def swap_seg(rows: list[Row]) -> str:
    rows[0]["seg"][0], rows[0]["seg"][1] = rows[0]["seg"][1], rows[0]["seg"][0]
    return str(rows[0]["id"])


def lose_seg_target(rows: list[Row]) -> str:
    rows[0]["seg"][1]["index"] = 99
    return str(rows[0]["id"])


def ask_otherwise(rows: list[Row]) -> str:
    rows[0]["question"] = "What do you see?"
    return str(rows[0]["id"])


def swap_image_refs(rows: list[Row]) -> str:
    refs = rows[0]["images"]
    refs[0]["row"], refs[1]["row"] = refs[1]["row"], refs[0]["row"]
    return str(rows[0]["id"])


def swap_images_everywhere(rows: list[Row]) -> str:
    """Turn a common-object row around; all it says stays true, but it is not the row of its id."""
    row = first(rows, "common_object")
    row["images"].reverse()
    row["objects"].reverse()
    for number, item in enumerate(row["objects"]):
        item["image"] = number
    return str(row["id"])


def shrink_image(rows: list[Row]) -> str:
    rows[0]["images"][0]["width"] -= 1
    return str(rows[0]["id"])


def move_source(rows: list[Row]) -> str:
    rows[0]["source"] = "paco" if rows[0]["source"] == "ade20k" else "ade20k"
    return str(rows[0]["id"])


def move_split(rows: list[Row]) -> str:
    rows[0]["split"] = "test"
    return str(rows[0]["id"])


def point_at_no_image(rows: list[Row]) -> str:
    rows[0]["objects"][0]["image"] = 7
    return str(rows[0]["id"])


def lose_value(rows: list[Row]) -> str:
    rows[0]["objects"][0]["mask"] = None
    return str(rows[0]["id"])


def change_id(rows: list[Row]) -> str:
    rows[0]["id"] = "0" * 16
    return "0" * 16


def double_id(rows: list[Row]) -> str:
    rows[1]["id"] = rows[0]["id"]
    return str(rows[0]["id"])


def swap_rows(rows: list[Row]) -> str:
    rows[3], rows[4] = rows[4], rows[3]
    return str(rows[4]["id"])


ROW_CHANGES: list[tuple[Callable[[list[Row]], str], Rule]] = [
    (flip_mask_bit, Rule.AREA),
    (flip_part_bit_and_measure, Rule.MASK),
    (cut_mask, Rule.MASK),
    (turn_mask, Rule.MASK),
    (change_area, Rule.AREA),
    (change_box, Rule.BOX),
    (drop_part, Rule.PARTS),
    (drop_part_everywhere, Rule.PARTS),
    (swap_parts, Rule.PARTS),
    (rename_part, Rule.PARTS),
    (rename_object_everywhere, Rule.ENTITY),
    (change_kind, Rule.PARTS),
    (change_task, Rule.PARTS),
    (edit_answer, Rule.ANSWER),
    (swap_tags, Rule.ANSWER),
    (lose_tag, Rule.ANSWER),
    (swap_seg, Rule.SEG),
    (lose_seg_target, Rule.STRUCTURE),
    (ask_otherwise, Rule.QUESTION),
    (swap_image_refs, Rule.IMAGE),
    (swap_images_everywhere, Rule.ID),
    (shrink_image, Rule.IMAGE),
    (move_source, Rule.IMAGE),
    (move_split, Rule.IMAGE),
    (point_at_no_image, Rule.STRUCTURE),
    (lose_value, Rule.STRUCTURE),
    (change_id, Rule.ID),
    (double_id, Rule.REPEATED),
    (swap_rows, Rule.ORDER),
]


@pytest.mark.parametrize(("change", "rule"), ROW_CHANGES, ids=lambda value: getattr(
    value, "__name__", str(value)))  # fmt: skip
def test_deep_names_the_row_that_was_changed(
    build: Path, change: Callable[[list[Row]], str], rule: Rule
) -> None:
    named: list[str] = []
    rewrite(build, lambda rows: named.append(change(rows)))
    assert verify(build, "full").listed == []
    found = verify(build, "deep").listed
    assert (rule, "pairs/train-00000-of-00001.parquet", named[0]) in {
        (problem.rule, problem.file, problem.row) for problem in found
    }
    assert all(named[0] in problem.row for problem in found if problem.rule is rule)


def entities_of(build: Path, split: str = "train") -> list[Row]:
    return [row for row in iter_rows(build, "entities", split) if row["row"] is not None]


def test_deep_names_a_pair_that_stands_there_twice(build: Path) -> None:
    turned: list[Row] = []

    def add(rows: list[Row]) -> None:
        row = first(rows, "common_object")
        by_place = {(e["row"], e["category"]): e for e in entities_of(build)}
        both = [
            by_place[ref["row"], item["category"]]
            for ref, item in zip(row["images"], row["objects"], strict=True)
        ]
        assert forge_row(Task.COMMON_OBJECT, "train", both) == row
        turned.append(forge_row(Task.COMMON_OBJECT, "train", both[::-1]))
        rows.append(turned[0])
        rows.sort(key=lambda row: str(row["id"]))

    rewrite(build, add)
    found = verify(build, "deep").listed
    assert [problem.rule for problem in found] == [Rule.REPEATED]
    assert "another row of common_object" in found[0].text


def test_deep_names_a_pair_of_classes_that_nobody_compares(build: Path) -> None:
    known = load_manifest("paco")
    mine = [e for e in entities_of(build) if e["source"] == "paco" and e["parts"]]
    pair = next(
        [one, two]
        for one in mine
        for two in mine
        if one["row"] != two["row"] and not known.comparable(one["category"], two["category"])
        and {p["name"] for p in one["parts"]} != {p["name"] for p in two["parts"]}
    )  # fmt: skip
    row = forge_row(Task.UNIQUE_PARTS, "train", pair)

    def add(rows: list[Row]) -> None:
        rows.append(row)
        rows.sort(key=lambda row: str(row["id"]))

    rewrite(build, add)
    found = verify(build, "deep").listed
    assert [(problem.rule, problem.row) for problem in found] == [(Rule.CLASSES, row["id"])]
