"""The predictions file: what is written is read back, and no bad line goes unnoticed."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from calico.predictions.files import read_predictions, write_predictions
from calico.predictions.jsonl import encode_line
from calico.predictions.types import InvalidPrediction, Prediction, Segment, check_prediction
from mixedparts.errors import EnvironmentFault, InputError
from mixedparts.masks import Rle
from tests.factories.evaluation import HEIGHT, WIDTH, box

SIZES = {"s1": ((HEIGHT, WIDTH), (HEIGHT, WIDTH)), "s2": ((HEIGHT, WIDTH), (5, 7))}
GOOD: dict[str, Any] = {
    "id": "s1",
    "answer": "",
    "segments": [
        {
            "label": "head",
            "image": 1,
            "mask": {"size": [HEIGHT, WIDTH], "counts": box(1, 2, 3, 4).counts.decode()},
        }
    ],
}


def changed(**values: Any) -> str:
    """Return the good line with keys of its segment replaced; None leaves one out."""
    segment = {k: v for k, v in (GOOD["segments"][0] | values).items() if v is not None}
    return json.dumps({**GOOD, "id": "s2", "segments": [segment]})


def test_written_predictions_are_read_back(tmp_path: Path) -> None:
    predictions = [
        Prediction("s2", "<p> é </p> [SEG]", (Segment("é", 1, box(0, 0, 2, 2, (5, 7)), 0.25),), 1),
        Prediction("s1", "", ()),
    ]
    assert write_predictions(tmp_path / "new" / "p.jsonl", iter(predictions)) == 2
    found = read_predictions(tmp_path / "new" / "p.jsonl", SIZES)
    assert list(found.values()) == predictions


def test_optional_and_further_keys(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({**GOOD, "model": "mine"}) + "\n\n")
    (segment,) = read_predictions(path, SIZES)["s1"].segments
    assert segment == Segment("head", 1, box(1, 2, 3, 4), 1.0)


def test_run_lengths_may_be_a_list(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    counts = [1, 3, HEIGHT * WIDTH - 4]
    path.write_text(changed(mask={"size": [HEIGHT, WIDTH], "counts": counts}, image=0))
    (segment,) = read_predictions(path, SIZES)["s2"].segments
    assert segment.mask == box(0, 1, 1, 3)


BAD_LINES = {
    "truncated": (json.dumps(GOOD)[:-9], "malformed|truncated"),
    "unknown id": (json.dumps({**GOOD, "id": "s9"}), "'s9' is not a sample"),
    "duplicate id": (json.dumps(GOOD), "'s1' is already in line 1"),
    "missing field": (changed(label=None), "label"),
    "missing mask": (changed(mask=None), "mask"),
    "NaN score": (changed(score=float("nan")), "malformed.*NaN is no number in JSON"),
    "-Infinity": (changed(score=-float("inf")), "malformed.*-Infinity is no number in JSON"),
    "infinite score": (changed(score=1.5).replace("1.5", "1e999"), "out of range|inf"),
    "image out of range": (changed(image=2), "there is no image 2"),
    "negative image": (changed(image=-1), "there is no image -1"),
    "mask of another size": (changed(), "12 x 16 .* 5 x 7"),
    "mask of huge size": (changed(mask={"size": [10**9, 10**9], "counts": "0"}), "the image is"),
    "runs that do not fit": (
        changed(image=0, mask={"size": [HEIGHT, WIDTH], "counts": "5"}),
        "do not cover",
    ),
    "runs that are no runs": (
        changed(image=0, mask={"size": [HEIGHT, WIDTH], "counts": "é\n"}),
        "outside its code",
    ),
    "negative runs": (
        changed(image=0, mask={"size": [HEIGHT, WIDTH], "counts": [-1, HEIGHT * WIDTH + 1]}),
        "negative",
    ),
    "a list": ("[]", "object"),
    "nested too deeply": ('{"id": "s2", "x": ' + "[" * 100_000, "nested|malformed|truncated"),
    "half a character": (changed(label="\ud800"), "surrogate|malformed|utf-8"),
    "a run of 70 digits": (
        changed(image=0, mask={"size": [HEIGHT, WIDTH], "counts": [10**70]}),
        "64 bits|range|too big|int",
    ),
    "wrong type": (changed(image="0"), "int"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_a_bad_line_stops_with_its_number(tmp_path: Path, case: str) -> None:
    line, reason = BAD_LINES[case]
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + line + "\n")
    with pytest.raises(InputError, match=rf"(?s)1 of 2 lines.*line 2: .*({reason})") as raised:
        read_predictions(path, SIZES)
    assert raised.value.exit_code == 3


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b"\n\xff\xfe{}\n" + b'{"id": "\xff"}\n')
    with pytest.raises(InputError, match=r"(?s)2 of 3 lines.*line 2.*line 3"):
        read_predictions(path, SIZES)


@pytest.mark.parametrize("packed", [False, True])
def test_files_of_other_systems_are_read(tmp_path: Path, packed: bool) -> None:
    text = "\r\n".join([json.dumps(GOOD), "", changed(image=0), ""])
    data = b"\xef\xbb\xbf" + text.encode()
    path = tmp_path / "p.jsonl"
    path.write_bytes(gzip.compress(data) if packed else data)
    assert list(read_predictions(path, SIZES)) == ["s1", "s2"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"\n  \r\n\n", "is empty"),
        (gzip.compress(b""), "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (gzip.compress(json.dumps(GOOD).encode())[:-12], "cannot be read"),
        (b"\x1f\x8bnot packed", "cannot be read"),
        (json.dumps(GOOD).encode("utf-16"), "iconv -f UTF-16"),
        (json.dumps([GOOD]).encode(), r"begins with a list(?s:.*)jq -c '\.\[\]'"),
        (json.dumps(GOOD, indent=1).encode(), "lines cannot be used"),
    ],
    ids=(
        "no bytes",
        "blank lines",
        "packed nothing",
        "mark only",
        "packed and cut",
        "said to be packed",
        "UTF-16",
        "list",
        "indented",
    ),
)
def test_a_file_that_is_none_is_one_message(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_predictions(path, SIZES)


def test_a_line_may_say_more_than_its_prediction(tmp_path: Path) -> None:
    prediction = Prediction("s1", "é", (Segment("head", 1, box(1, 2, 3, 4), 0.5),), unnamed=2)
    line = encode_line(prediction, {"question": "Which?"})
    assert json.loads(line)["question"] == "Which?"
    (tmp_path / "p.jsonl").write_bytes(line)
    assert read_predictions(tmp_path / "p.jsonl", SIZES) == {"s1": prediction}


def test_a_file_says_that_its_model_was_trained_on_synthetic_images(tmp_path: Path) -> None:
    plain = Prediction("s1", "", ())
    drawn = Prediction("s1", "", (), synthetic=True)
    key = "trained_on_synthetic_images"
    assert key not in json.loads(encode_line(plain))
    assert json.loads(encode_line(drawn))[key] is True
    (tmp_path / "p.jsonl").write_bytes(encode_line(drawn))
    assert read_predictions(tmp_path / "p.jsonl", SIZES)["s1"].synthetic
    (tmp_path / "p.jsonl").write_bytes(encode_line(plain))
    assert not read_predictions(tmp_path / "p.jsonl", SIZES)["s1"].synthetic


def test_many_bad_lines_are_counted_and_the_first_ones_shown(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text("{\n" * 9)
    with pytest.raises(InputError, match=r"(?s)9 of 9 lines.*line 5.*and 4 more") as raised:
        read_predictions(path, SIZES)
    assert "line 6" not in str(raised.value)


def test_samples_that_are_left_out_may_have_lines(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({**GOOD, "id": "later"}) + "\n")
    assert read_predictions(path, SIZES, others={"later"}) == {}


def test_a_missing_file_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_predictions(tmp_path / "none.jsonl", SIZES)


def test_a_failing_source_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text("old")

    def broken() -> Iterator[Prediction]:
        yield Prediction("s1", "", ())
        raise RuntimeError("model fell over")

    with pytest.raises(RuntimeError, match="fell over"):
        write_predictions(path, broken())
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("p.jsonl", "old")]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        write_predictions(tmp_path / "file" / "p.jsonl", [])


@pytest.mark.parametrize(
    "segment",
    [
        Segment("x", 2, box(0, 0, 1, 1)),
        Segment("x", 1, box(0, 0, 1, 1)),
        Segment("x", 0, Rle(HEIGHT, WIDTH, b""), float("nan")),
    ],
)
def test_predictions_in_memory_are_checked_too(segment: Segment) -> None:
    with pytest.raises(InvalidPrediction):
        check_prediction(Prediction("s2", "", (segment,)), SIZES["s2"])
