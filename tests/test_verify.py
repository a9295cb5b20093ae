"""Whatever is changed in a build, verification names it, with file and row."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mixedparts import masks
from mixedparts.build import build as make_build
from mixedparts.config import BuildConfig
from mixedparts.errors import InputError
from mixedparts.parquet import iter_rows
from mixedparts.progress import Silent
from mixedparts.records import Task
from mixedparts.shards import sha256_of
from mixedparts.taxonomy import load_manifest
from mixedparts.verification.findings import Rule
from mixedparts.verify import verify
from tests.factories.forger import Row, flip_bit, forge_row, put_mask, rewrite, stamp

DOCUMENT = Path(__file__).parents[1] / "docs" / "verification.md"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def whole(native_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small build in which every rule holds; do not write here."""
    out = tmp_path_factory.mktemp("whole") / "build"
    make_build(
        BuildConfig(sources=("ade20k", "paco"), root=native_root, out=out, samples=160), Silent()
    )
    assert verify(out, "deep").listed == []
    return out


@pytest.fixture
def build(whole: Path, tmp_path: Path) -> Path:
    """A copy of a build that a test may spoil."""
    return Path(shutil.copytree(whole, tmp_path / "build"))


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


def change_area(rows: list[Row]) -> str:
    rows[0]["objects"][0]["area"] += 1
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


# Changes of the other tables.


def flip_entity_bit(rows: list[Row]) -> None:
    flip_bit(rows[0], measured=False)


def shrink_part(rows: list[Row]) -> None:
    row = next(row for row in rows if row["parts"])
    dense = np.zeros(row["mask"]["size"], np.uint8)
    dense[1, 1] = 1
    put_mask(row["parts"][0], masks.from_dense(dense), measured=True)


def drop_entity_part(rows: list[Row]) -> None:
    next(row for row in rows if len(row["parts"]) > 1)["parts"].pop()


def rename_entity(rows: list[Row]) -> None:
    next(row for row in rows if row["row"] is not None)["category"] = "teapot"


def double_entity(rows: list[Row]) -> None:
    rows.append(dict(rows[0]))


def hide_parts(rows: list[Row]) -> None:
    next(row for row in rows if row["parts"])["parts_known"] = False


def lose_entity_box(rows: list[Row]) -> None:
    rows[0]["bbox"] = None


def move_entity(rows: list[Row]) -> None:
    rows[0]["row"] = (rows[0]["row"] or 0) + 1


def exchange_pictures(rows: list[Row]) -> None:
    rows[0]["image"], rows[1]["image"] = rows[1]["image"], rows[0]["image"]


def forge_digest(rows: list[Row]) -> None:
    rows[0]["sha256"] = "0" * 64


def resize_image(rows: list[Row]) -> None:
    rows[0]["width"], rows[0]["height"] = rows[0]["height"], rows[0]["width"]


def swap_image_rows(rows: list[Row]) -> None:
    rows[0], rows[1] = rows[1], rows[0]


def change_licence(rows: list[Row]) -> None:
    rows[0]["licence"] = "CC0"


def add_unused_image(rows: list[Row]) -> None:
    rows.append({**rows[0], "row": len(rows), "image_id": "nobody"})


def lose_picture(rows: list[Row]) -> None:
    rows[0]["image"]["bytes"] = None


def edit_shown_text(rows: list[Row]) -> None:
    rows[0]["text"] = "Which?\nNone."


def spoil_shown_picture(rows: list[Row]) -> None:
    rows[0]["picture"]["bytes"] = b"no picture"


def edit_benchmark(rows: list[Row]) -> None:
    rows[0]["answer"] += " Really."


def shorten_benchmark(rows: list[Row]) -> None:
    rows.pop()


@pytest.mark.parametrize(
    ("table", "split", "change", "rule"),
    [
        ("entities", "train", flip_entity_bit, Rule.AREA),
        ("entities", "train", shrink_part, Rule.FILTER),
        ("entities", "train", drop_entity_part, Rule.PARTS),
        ("entities", "train", rename_entity, Rule.ENTITY),
        ("entities", "train", double_entity, Rule.REPEATED),
        ("entities", "train", hide_parts, Rule.PARTS),
        ("entities", "train", lose_entity_box, Rule.STRUCTURE),
        ("entities", "train", move_entity, Rule.IMAGE),
        ("images", "validation", exchange_pictures, Rule.PIXELS),
        ("images", "validation", forge_digest, Rule.PIXELS),
        ("images", "validation", resize_image, Rule.PIXELS),
        ("images", "validation", lose_picture, Rule.PIXELS),
        ("images", "validation", swap_image_rows, Rule.ORDER),
        ("images", "validation", change_licence, Rule.IMAGE),
        ("images", "validation", add_unused_image, Rule.IMAGE),
        ("preview", "preview", edit_shown_text, Rule.PREVIEW),
        ("preview", "preview", spoil_shown_picture, Rule.PREVIEW),
        ("pairs", "benchmark", edit_benchmark, Rule.BENCHMARK),
        ("pairs", "benchmark", shorten_benchmark, Rule.BENCHMARK),
    ],
)
def test_deep_names_what_was_changed_in_other_tables(
    build: Path, table: str, split: str, change: Callable[[list[Row]], None], rule: Rule
) -> None:
    rewrite(build, change, table, split)
    assert verify(build, "full").listed == []
    found = verify(build, "deep").listed
    assert rule in {problem.rule for problem in found}
    assert all(problem.row for problem in found)


# Changes of files and records.


def edit_manifest(build: Path, change: Callable[[Row], None]) -> None:
    value = json.loads((build / "manifest.json").read_text())
    change(value)
    (build / "manifest.json").write_text(json.dumps(value))


def cut_file(build: Path) -> None:
    path = build / "pairs" / "train-00000-of-00001.parquet"
    os.truncate(path, path.stat().st_size // 2)


def remove_file(build: Path) -> None:
    (build / "images" / "test-00000-of-00001.parquet").unlink()


def add_file(build: Path) -> None:
    shutil.copy(build / "rejects.parquet", build / "pairs" / "train-00001-of-00001.parquet")


def flip_byte(build: Path) -> None:
    path = build / "images" / "test-00000-of-00001.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def drop_column(build: Path) -> None:
    path = build / "pairs" / "train-00000-of-00001.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["question"]), path)
    manifest = json.loads((build / "manifest.json").read_text())
    stamp(build)
    assert manifest["counts"] == json.loads((build / "manifest.json").read_text())["counts"]


def write_no_parquet(build: Path) -> None:
    path = build / "preview" / "preview-00000-of-00001.parquet"
    pq.write_table(pq.read_table(path), path)
    stamp(build)
    path.write_bytes(b"PAR1" + b"\0" * (path.stat().st_size - 8) + b"PAR1")
    digest = sha256_of(path)
    for file in [build / "manifest.json", *(build / "_build" / "commits").glob("preview*.json")]:
        value = json.loads(file.read_text())
        for item in value.get("shards", value.get("files")):
            if item["path"].startswith("preview/"):
                item["sha256"] = digest
        file.write_text(json.dumps(value))


def count_wrong(build: Path) -> None:
    edit_manifest(build, lambda m: m["counts"]["paco"]["train"].update(common_object=7))


def count_images_wrong(build: Path) -> None:
    edit_manifest(build, lambda m: m["counts"]["paco"]["train"].update(images=7))


def count_rejects_wrong(build: Path) -> None:
    edit_manifest(build, lambda m: m["rejects"].update(empty_mask=7))


def forge_rows(build: Path) -> None:
    def edit(manifest: Row) -> None:
        shard = next(s for s in manifest["shards"] if s["path"].startswith("preview/"))
        shard["rows"] += 7

    edit_manifest(build, edit)


def forge_configuration(build: Path) -> None:
    edit_manifest(build, lambda m: m["configuration"].update(min_part_area=0.5))


def forge_build_id(build: Path) -> None:
    edit_manifest(build, lambda m: m.update(build_id="f" * 32))


def forge_plan(build: Path) -> None:
    path = build / "_build" / "plan.json"
    value = json.loads(path.read_text())
    value["identity"]["configuration"]["seed"] = 99
    path.write_text(json.dumps(value))


def spoil_manifest(build: Path) -> None:
    edit_manifest(build, lambda m: m.update(counts=["many"]))


def leave_the_folder(build: Path) -> None:
    edit_manifest(build, lambda m: m["shards"][0].update(path="../pairs.parquet"))


def later_schema(build: Path) -> None:
    edit_manifest(build, lambda m: m.update(schema_version=99))


def remove_commit(build: Path) -> None:
    next((build / "_build" / "commits").glob("pairs-train-*.json")).unlink()


def spoil_commit(build: Path) -> None:
    next((build / "_build" / "commits").glob("pairs-train-*.json")).write_text("{")


def remove_card(build: Path) -> None:
    (build / "README.md").unlink()


def edit_card(build: Path) -> None:
    path = build / "README.md"
    path.write_text(path.read_text().replace("pairs/train-*", "pairs/test-*"))


def edit_croissant(build: Path) -> None:
    path = build / "croissant.json"
    path.write_text(path.read_text().replace('"cr:FileSet"', '"cr:FileObject"', 1))


def spoil_croissant(build: Path) -> None:
    (build / "croissant.json").write_text("[")


FILE_CHANGES = [
    (cut_file, "quick", Rule.FILE, "pairs/train-00000-of-00001.parquet"),
    (remove_file, "quick", Rule.FILE, "images/test-00000-of-00001.parquet"),
    (add_file, "quick", Rule.FILE, "pairs/train-00001-of-00001.parquet"),
    (forge_configuration, "quick", Rule.PLAN, "manifest.json"),
    (forge_build_id, "quick", Rule.PLAN, "manifest.json"),
    (forge_plan, "quick", Rule.PLAN, "_build/plan.json"),
    (spoil_manifest, "quick", Rule.MANIFEST, "manifest.json"),
    (leave_the_folder, "quick", Rule.MANIFEST, "manifest.json"),
    (later_schema, "quick", Rule.MANIFEST, "manifest.json"),
    (remove_commit, "quick", Rule.COMMIT, "pairs/train-00000-of-00001.parquet"),
    (spoil_commit, "quick", Rule.COMMIT, "_build/commits/pairs-train-00000.json"),
    (forge_rows, "quick", Rule.COMMIT, "preview/preview-00000-of-00001.parquet"),
    (remove_card, "quick", Rule.FILE, "README.md"),
    (flip_byte, "full", Rule.DIGEST, "images/test-00000-of-00001.parquet"),
    (drop_column, "full", Rule.COLUMNS, "pairs/train-00000-of-00001.parquet"),
    (write_no_parquet, "full", Rule.COLUMNS, "preview/preview-00000-of-00001.parquet"),
    (count_wrong, "full", Rule.COUNTS, "manifest.json"),
    (count_images_wrong, "full", Rule.COUNTS, "manifest.json"),
    (count_rejects_wrong, "full", Rule.COUNTS, "manifest.json"),
    (edit_card, "full", Rule.CARD, "README.md"),
    (edit_croissant, "full", Rule.METADATA, "croissant.json"),
    (spoil_croissant, "full", Rule.METADATA, "croissant.json"),
]


@pytest.mark.parametrize(("change", "level", "rule", "file"), FILE_CHANGES)
def test_quick_and_full_name_the_file_that_was_changed(
    build: Path, change: Callable[[Path], None], level: str, rule: Rule, file: str
) -> None:
    change(build)
    if level == "full":
        assert verify(build, "quick").listed == []
    found = verify(build, level).listed
    assert (rule, file) in {(problem.rule, problem.file) for problem in found}


def test_pictures_that_are_only_referred_to_are_read_where_they_lie(
    native_root: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(native_root, tmp_path / "native"))
    out = tmp_path / "build"
    config = BuildConfig(sources=("paco",), root=root, out=out, samples=60, images="reference")
    make_build(config, Silent())
    assert verify(out, "deep").listed == []
    rows = list(iter_rows(out, "images", "train"))
    Path(rows[0]["image"]["path"]).write_bytes(Path(rows[1]["image"]["path"]).read_bytes())
    Path(rows[2]["image"]["path"]).unlink()
    found = verify(out, "deep").listed
    assert {(problem.rule, problem.row.split()[1]) for problem in found} == {
        (Rule.PIXELS, "0"),
        (Rule.PIXELS, "2"),
    }


def test_every_rule_is_documented() -> None:
    text = DOCUMENT.read_text()
    assert [rule for rule in Rule if f"| `{rule}` |" not in text] == []


def test_processes_find_what_one_finds(build: Path) -> None:
    rewrite(build, lambda rows: rows[0]["objects"][0].update(area=1))
    alone, together = verify(build, "deep"), verify(build, "deep", workers=2)
    assert alone.total == 1
    assert alone.listed == together.listed


def test_the_command_names_rows_and_ends_with_1(build: Path, run_mixedparts: Run) -> None:
    done = run_mixedparts("verify", build, "--level", "deep", "--quiet")
    assert (done.returncode, done.stdout) == (0, f"{build}: 0 problems at level deep\n")
    named: list[str] = []
    rewrite(build, lambda rows: named.append(change_area(rows)))
    done = run_mixedparts("verify", build, "--level", "deep", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 1
    assert (told["number"], told["rules"]) == (1, {"area": 1})
    assert told["problems"][0].startswith(f"pairs/train-00000-of-00001.parquet {named[0]}: ")


def test_an_unfinished_build_is_an_input_error(build: Path) -> None:
    (build / "manifest.json").unlink()
    with pytest.raises(InputError, match="no finished build"):
        verify(build)
