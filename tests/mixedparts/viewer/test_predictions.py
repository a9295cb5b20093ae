"""Predictions of any model beside the ground truth, with what they found, missed and added."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect

from mixedparts.errors import InputError, UsageError
from mixedparts.masks import from_dense
from mixedparts.viewer import Answer, Kind, Mark, Region
from mixedparts.viewer.build_page import PageRequest, write_build_page
from mixedparts.viewer.build_rows import sample_of
from mixedparts.viewer.compare import compared
from mixedparts.viewer.predictions import Predictions
from mixedparts.viewer.selection import Query
from tests.factories.browser import Watched
from tests.oracles.build_tables import iter_rows

Row = dict[str, Any]


def line_of(row: Row, rename: Callable[[str], str] = str, keep: slice = slice(None)) -> Row:
    """The ground truth of a row as a prediction, with other names or fewer masks."""
    named = [(item, item.get("category") or item["name"]) for item in row["objects"] + row["parts"]]
    chosen = [(item, rename(name)) for item, name in named][keep]
    segments = [
        {"label": name, "image": item["image"], "mask": item["mask"], "score": 0.5}
        for item, name in chosen
    ]
    text = ", ".join(
        f"<p> the {name} </p> [SEG] (IMAGE{item['image'] + 1})" for item, name in chosen
    )
    return {"id": row["id"], "answer": f"I see {text}.", "segments": segments, "further": 1}


def write(path: Path, *lines: Any) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def rows(built: Path) -> list[Row]:
    return [row for row in iter_rows(built, "pairs", "test") if row["task"] == "common_parts"]


def nothing(split: str, number: int) -> None:
    return None


def test_a_prediction_becomes_an_answer(rows: list[Row], tmp_path: Path) -> None:
    row = rows[0]
    read = Predictions(write(tmp_path / "p.jsonl", line_of(row)))
    answer = read.answer(sample_of(row, nothing))
    assert answer is not None
    truth = sample_of(row, nothing).answers[0]
    assert [(r.image, r.label, r.mask, r.kind) for r in answer.regions] == [
        (r.image, r.label, r.mask, r.kind) for r in truth.regions
    ]
    assert answer.seg == tuple(range(len(truth.regions)))
    assert {region.score for region in answer.regions} == {0.5}
    assert read.answer(sample_of(rows[1], nothing)) is None
    both = compared(truth, answer)
    assert {region.mark for region in both.truth.regions + both.predicted.regions} == {Mark.MATCH}
    assert (both.mean_iou, both.false_positives) == (1.0, 0)


def test_a_model_of_synthetic_images_is_named_so(rows: list[Row], tmp_path: Path) -> None:
    drawn = {**line_of(rows[0]), "trained_on_synthetic_images": True}
    read = Predictions(write(tmp_path / "p.jsonl", drawn, line_of(rows[1])))
    titles = []
    for row in rows[:2]:
        answer = read.answer(sample_of(row, nothing))
        assert answer is not None
        titles.append(answer.title)
    assert titles == [
        "Prediction (p.jsonl, model trained on synthetic images)", "Prediction (p.jsonl)"
    ]  # fmt: skip


def test_a_file_may_be_packed(rows: list[Row], tmp_path: Path) -> None:
    text = json.dumps(line_of(rows[0])).encode()
    (tmp_path / "p.jsonl.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + text + b"\r\n\r\n"))
    assert Predictions(tmp_path / "p.jsonl.gz").ids == {rows[0]["id"]}


def test_tags_that_were_not_drawn_have_no_mask(rows: list[Row], tmp_path: Path) -> None:
    row = rows[0]
    line = line_of(row, keep=slice(1))
    name = line["segments"][0]["label"]
    line["answer"] = f"[SEG] <p> {name} </p> [SEG] (IMAGE9) [SEG] (IMAGE1) [SEG]"
    answer = Predictions(write(tmp_path / "p", line)).answer(sample_of(row, nothing))
    assert answer is not None
    assert answer.seg == (-1, -1, 0, -1)


def box(*corners: int) -> Any:
    mask = np.zeros((20, 20), np.uint8)
    top, left, bottom, right = corners
    mask[top:bottom, left:right] = 1
    return from_dense(mask)


def answer(*regions: tuple[str, Any]) -> Answer:
    made = tuple(Region(0, name, Kind.PART, mask) for name, mask in regions)
    return Answer("", "", made, ())


def test_masks_are_compared_by_overlap() -> None:
    head, tail, leg = box(0, 0, 10, 10), box(0, 12, 4, 16), box(12, 0, 16, 4)
    truth = answer(("head", head), ("tail", tail), ("leg", leg))
    predicted = answer(
        ("the head", box(0, 0, 10, 8)),  # IoU 0.8
        ("head", box(0, 0, 10, 5)),  # IoU 0.5, but the mask is taken
        ("wing", tail),
        ("leg", box(16, 16, 20, 20)),
    )
    both = compared(truth, predicted)
    assert [region.mark for region in both.truth.regions] == [
        Mark.MATCH, Mark.WRONG_NAME, Mark.MISS
    ]  # fmt: skip
    assert [region.mark for region in both.predicted.regions] == [
        Mark.MATCH, Mark.FALSE_POSITIVE, Mark.WRONG_NAME, Mark.FALSE_POSITIVE
    ]  # fmt: skip
    assert both.predicted.regions[0].note == "IoU 0.80 with head"
    assert both.mean_iou == pytest.approx(0.8 / 3)
    assert both.false_positives == 2
    # Of two equal overlaps, the one with the right name.
    twins = answer(("ear", head), ("head", head))
    assert [r.mark for r in compared(truth, twins).predicted.regions] == [
        Mark.FALSE_POSITIVE, Mark.MATCH
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda line: line.pop("id"), "line 2: Object missing required field `id`"),
        (lambda line: line.update(id=None), "line 2: Expected `str`, got `null`"),
        (lambda line: line.pop("segments"), "line 2: Object missing required field `segments`"),
        (lambda line: line["segments"][0].update(image=7), "there is no image 7, counted from 0"),
        (lambda line: line["segments"][0].update(image=-1), "there is no image -1"),
        (lambda line: line["segments"][0]["mask"].update(size=[3, 3]), "its mask is 3 x 3"),
        (lambda line: line["segments"][0]["mask"].update(counts="??"), "segment '"),
    ],
)
def test_a_broken_line_is_named(
    built: Path, rows: list[Row], tmp_path: Path, change: Callable[[Row], None], says: str
) -> None:
    line = json.loads(json.dumps(line_of(rows[1])))
    change(line)
    path = write(tmp_path / "p.jsonl", line_of(rows[0]), line)
    with pytest.raises(InputError, match=r"p\.jsonl, line 2") as caught:
        write_build_page(built, tmp_path / "v.html", PageRequest(predictions=path))
    assert says in str(caught.value)
    assert not (tmp_path / "v.html").exists()


def test_files_that_are_no_predictions(built: Path, rows: list[Row], tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "list").write_text(json.dumps([line_of(rows[0])]))
    line = line_of(rows[0])
    for path, says in (
        (tmp_path / "gone", "cannot be read: it is not there"),
        (tmp_path / "empty", "is empty"),
        (tmp_path / "list", "begins with a list"),
        (write(tmp_path / "twice", line, line), "is already in line 1"),
    ):
        with pytest.raises(InputError, match=says):
            write_build_page(built, tmp_path / "v.html", PageRequest(predictions=path))
    other = write(tmp_path / "other", {**line, "id": "another"})
    with pytest.raises(UsageError, match="no row of"):
        write_build_page(built, tmp_path / "v.html", PageRequest(predictions=other))


def test_predictions_in_the_page(
    built: Path, rows: list[Row], tmp_path: Path, watched: Callable[..., Watched]
) -> None:
    good, bad, wrong = rows[:3]
    lines = [line_of(good), line_of(bad, keep=slice(1)), line_of(wrong, lambda name: f"not {name}")]
    path = write(tmp_path / "model.jsonl", *lines)
    out = tmp_path / "v.html"
    query = Query(splits=("test",))
    written, _ = write_build_page(built, out, PageRequest(query, predictions=path))
    assert written.samples == 3
    page = watched().open(out)
    titles = page.locator(".answer-title").all_inner_texts()
    assert titles == ["Ground truth", "Prediction (model.jsonl)"] * 3
    page.get_by_label("Order").select_option("+mean IoU")
    order = [text.split(" · ")[2] for text in page.locator(".card .meta").all_inner_texts()]
    assert order == [wrong["id"], bad["id"], good["id"]]
    marks = page.locator(".card").nth(0).locator(".mark")
    assert set(marks.all_inner_texts()) == {"≠"}
    assert marks.first.get_attribute("aria-label") == "wrong name in image 1"
    number = len(bad["objects"]) + len(bad["parts"])
    texts = page.locator(".card").nth(1).locator(".mark").all_inner_texts()
    assert (texts.count("✓"), texts.count("○")) == (2, number - 1)
    page.locator(".card h2 a").nth(1).click()
    cells = page.locator("#detail tbody tr").first.locator("td").all_inner_texts()
    assert cells[5:] == ["match", f"IoU 1.00 with {bad['objects'][0]['category']}"]
    expect(page.locator(".note.plain")).to_contain_text("Predictions of model.jsonl")


def test_ids_that_the_build_does_not_have(
    built: Path, rows: list[Row], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "p.jsonl"
    line = {"id": rows[0]["id"], "answer": "", "segments": []}
    file.write_text(json.dumps({**line, "id": "elsewhere"}))
    with pytest.raises(UsageError, match=r"no row of .* whose first one is 'elsewhere'"):
        write_build_page(built, tmp_path / "v.html", PageRequest(predictions=file))
    assert not (tmp_path / "v.html").exists()
    file.write_text("\n".join(json.dumps({**line, "id": i}) for i in (line["id"], "a", "b")))
    written, _ = write_build_page(built, tmp_path / "v.html", PageRequest(predictions=file))
    assert written.samples == 1
    assert "2 of 3 lines are for rows that" in caplog.text
