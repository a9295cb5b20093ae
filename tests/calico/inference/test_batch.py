"""Many sets of pictures: what is asked, what is kept, what is set aside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from calico.inference.batch import predict_sets
from calico.inference.image_sets import ImageSet, Unusable, read_image_sets
from calico.inference.predictor import Predictor
from calico.predictions.files import read_predictions
from mixedparts.errors import InputError, UsageError
from mixedparts.progress import Silent
from mixedparts.records import Task
from tests.factories.micro_model import micro_model, micro_tokenizer

PARTS = Task.COMMON_PARTS


def picture(path: Path, shade: int = 90, size: tuple[int, int] = (40, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, 120, 30)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven sub-folders, of which four can be asked about."""
    place = tmp_path / "pairs"
    for number, name in enumerate(("b cups", "a", "ü.ü", "d")):
        picture(place / name / "1.png", 10 * number)
        picture(place / name / "2.JPG", 10 * number + 5, (33, 41))
    picture(place / "single" / "1.png")
    (place / "empty").mkdir()
    (place / "notes.txt").write_text("not a folder")
    picture(place / "broken" / "1.png")
    (place / "broken" / "2.png").write_bytes(b"\x89PNG no picture")
    picture(place / ".hidden" / "1.png")
    return place


class Counting(Predictor):
    """Says which questions it was asked."""

    asked: list[list[str]]

    def predict(self, queries: Any, batch_size: int | None = None) -> Any:
        queries = list(queries)
        self.asked.append([query.id for query in queries])
        return super().predict(queries, batch_size)


@pytest.fixture
def predictor() -> Counting:
    model, config = micro_model(seed=2)
    made = Counting(model, config, micro_tokenizer())
    made.asked = []
    return made


def run(predictor: Predictor, sets: Sequence[ImageSet | Unusable], out: Path, size: int = 2) -> Any:
    return predict_sets(predictor, sets, out, {"checkpoint": "c"}, size, Silent())


def contents(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()
    }


class TestWhatIsAsked:
    def test_sub_folders_in_order(self, folder: Path) -> None:
        found = read_image_sets(folder, PARTS)
        assert [one.id for one in found] == ["a", "b cups", "broken", "d", "empty", "single", "ü.ü"]
        assert found[0] == ImageSet("a", (folder / "a/1.png", folder / "a/2.JPG"), PARTS)
        assert found[4] == Unusable("empty", "the folder holds no image, two are needed")
        assert found[5] == Unusable("single", "the folder holds 1 image, two are needed")

    def test_a_table(self, tmp_path: Path) -> None:
        table = tmp_path / "pairs.csv"
        text = (
            "\ufeffid,Image1, image2,image3,task,question\r\n"
            "x/1,a.png,/b.png,,unique_parts,\r\n"
            ',a.png,b.png,c.png,,"Which, then?"\r\n'
            "\r\n"
            "bad,a.png,,c.png,,\r\n"
            "worse,a.png,b.png,,no_task,\r\n"
            "x/1,a.png,b.png\r\n"
            "wide,a.png,b.png,,,,,,\r\n"
            "last,a.png,b.png\r\n"
        )
        table.write_bytes(text.encode())
        first, second, *bad, last = read_image_sets(table, PARTS)
        assert first == ImageSet(
            "x/1", (tmp_path / "a.png", Path("/b.png")), Task.UNIQUE_PARTS, None
        )
        assert first.folder == "x%2F1"
        assert isinstance(second, ImageSet)
        assert (second.id, len(second.images), second.question) == ("line-3", 3, "Which, then?")
        assert [(one.id, one.reason[:26]) for one in bad if isinstance(one, Unusable)] == [
            ("bad", "it must name image1 and im"),
            ("worse", "there is no task 'no_task'"),
            ("x/1", "its id is that of an earli"),
            ("line-8", "9 cells under 6 columns"),
        ]
        assert last.id == "last"

    def test_json_lines(self, tmp_path: Path) -> None:
        table = tmp_path / "pairs.jsonl"
        rows = [
            json.dumps({"image1": "a.png", "image2": "b.png", "id": 7, "further": []}),
            "{",
            "[]",
            json.dumps({"image1": "a.png", "image2": 3}),
            json.dumps({"image1": "a.png", "image2": "b\0.png"}),
            json.dumps({"image1": "a.png", "image2": "b.png", "id": "\ud800"}),
            json.dumps({"image1": "a.png", "image2": "b.png", "id": "x" * 400}),
            json.dumps({"image1": "a.png", "image2": "b.png", "id": ".."}),
        ]
        table.write_text("\n".join(rows))
        found = read_image_sets(table, PARTS)
        assert [type(one) for one in found] == [ImageSet, *[Unusable] * 6, ImageSet]
        assert isinstance(found[7], ImageSet)
        assert found[7].folder == "%2E."

    @pytest.mark.parametrize(
        ("name", "data", "error", "said"),
        [
            ("t.csv", b"a,b\n1,2\n", UsageError, "no columns image1 and image2, but: a, b"),
            ("t.csv", b"", UsageError, "no columns image1 and image2, but: none"),
            ("t.csv", b"image1,image2\n", UsageError, "nothing to ask"),
            ("t.csv", b"image1,image2\n\xff,b\n", InputError, "UTF-8"),
            ("t.jsonl", b"\xff\n", InputError, "UTF-8"),
            ("t.tsv", b"image1,image2\na,b\n", UsageError, "no columns"),
            ("t.parquet", b"", UsageError, "neither a folder nor"),
            (None, b"", InputError, "there is no"),
        ],
    )
    def test_what_is_no_table_is_one_message(
        self, tmp_path: Path, name: str | None, data: bytes, error: type[Exception], said: str
    ) -> None:
        path = tmp_path / (name or "none.bin")
        if name:
            path.write_bytes(data)
        with pytest.raises(error, match=said):
            read_image_sets(path, PARTS)

    def test_a_folder_of_pictures_alone(self, tmp_path: Path) -> None:
        picture(tmp_path / "1.png")
        with pytest.raises(UsageError, match="sub-folders"):
            read_image_sets(tmp_path, PARTS)


class TestAnswers:
    def test_good_ones_are_answered_and_bad_ones_set_aside(
        self, folder: Path, predictor: Counting, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        report = run(predictor, read_image_sets(folder, PARTS), out)
        assert (report.answered, report.answered_before) == (4, 0)
        assert [one.id for one in report.rejected] == ["broken", "empty", "single"]
        rejects = [json.loads(line) for line in (out / "rejects.jsonl").read_text().splitlines()]
        assert [one["id"] for one in rejects] == ["broken", "empty", "single"]
        assert "cannot be decoded" in rejects[0]["reason"]
        assert sorted(one.name for one in (out / "answers").iterdir()) == [
            "%C3%BC.%C3%BC", "a", "b cups", "d",
        ]  # fmt: skip
        sizes = dict.fromkeys(["a", "b cups", "d", "ü.ü"], ((30, 40), (41, 33)))
        found = read_predictions(out / "predictions.jsonl", sizes)
        assert list(found) == ["a", "b cups", "d", "ü.ü"]
        (alone,) = super(Counting, predictor).predict([_query(folder / "d")])
        assert found["d"].answer == alone.answer
        assert [s.mask for s in found["d"].segments] == [s.mask for s in alone.segments]

    def test_an_interrupted_run_goes_on_with_the_same_bytes(
        self, folder: Path, predictor: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sets = read_image_sets(folder, PARTS)
        whole, torn = tmp_path / "whole", tmp_path / "torn"
        run(predictor, sets, whole)
        predictor.asked.clear()

        answer = Predictor._answer

        def stopping(self: Predictor, batch: Any, images: int) -> Any:
            if len(predictor.asked) == 2:
                raise KeyboardInterrupt
            return answer(self, batch, images)

        monkeypatch.setattr(Predictor, "_answer", stopping)
        with pytest.raises(KeyboardInterrupt):
            run(predictor, sets, torn)
        monkeypatch.undo()
        assert not (torn / "predictions.jsonl").exists()
        (torn / "answers" / ".99.tmp").mkdir()  # left by a kill
        (torn / ".rejects.jsonl.99.tmp").write_text("{")
        (torn / "answers" / "a" / "prediction.json").write_text('{"id": "a", "answ')
        predictor.asked.clear()
        report = run(predictor, sets, torn)
        assert (report.answered, report.answered_before) == (3, 1)
        assert predictor.asked == [["a", "b cups"], ["d"], ["ü.ü"]]
        assert contents(torn) == contents(whole)
        predictor.asked.clear()
        assert run(predictor, sets, torn).answered_before == 4
        assert predictor.asked == []
        assert contents(torn) == contents(whole)

    def test_what_changed_is_answered_again(
        self, folder: Path, predictor: Counting, tmp_path: Path
    ) -> None:
        run(predictor, read_image_sets(folder, PARTS), tmp_path / "out", 1)
        picture(folder / "a" / "1.png", 200)
        predictor.asked.clear()
        run(predictor, read_image_sets(folder, PARTS), tmp_path / "out", 1)
        assert predictor.asked == [["a"]]
        predictor.asked.clear()
        run(predictor, read_image_sets(folder, Task.UNIQUE_PARTS), tmp_path / "out", 1)
        assert len(predictor.asked) == 4

    def test_answers_of_another_checkpoint_are_not_mixed(
        self, folder: Path, predictor: Counting, tmp_path: Path
    ) -> None:
        sets = read_image_sets(folder, PARTS)
        run(predictor, sets, tmp_path / "out")
        with pytest.raises(UsageError, match="another run: checkpoint differ"):
            predict_sets(predictor, sets, tmp_path / "out", {"checkpoint": "d"}, 2, Silent())

    @pytest.mark.parametrize("text", ["[]", "{", ""])
    def test_a_folder_of_something_else_is_left_alone(
        self, folder: Path, predictor: Counting, tmp_path: Path, text: str
    ) -> None:
        out = tmp_path / "other"
        out.mkdir()
        (out / "run.json").write_text(text)
        with pytest.raises(UsageError, match="not from a run"):
            run(predictor, read_image_sets(folder, PARTS), out)
        assert contents(out) == {"run.json": text.encode()}

    def test_too_many_pictures_for_the_model(
        self, folder: Path, predictor: Counting, tmp_path: Path
    ) -> None:
        picture(folder / "a" / "3.png")
        report = run(predictor, read_image_sets(folder, PARTS), tmp_path / "out")
        assert report.rejected[0] == Unusable("a", "it has 3 images, the model takes up to 2")


def _query(place: Path) -> Any:
    from calico.inference.queries import Query, task_question
    from calico.processing.images import open_image

    shown = tuple(open_image(one.read_bytes(), "") for one in sorted(place.iterdir()))
    return Query("alone", task_question(PARTS), shown)
