"""Prediction: batches, outcomes that are counted, files of the command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import calico
from calico.cli import predict as command
from calico.dataset.pairs import BuiltDataset
from calico.inference.answer import VisualAnswer
from calico.inference.drawing import draw_prediction
from calico.inference.predictor import Predictor
from calico.inference.queries import Query, task_question
from calico.model.generation import Generated
from calico.predictions.types import Prediction, Segment
from calico.processing.images import open_picture
from calico.training.train import RunSettings, train
from mixedparts.errors import InputError, UsageError
from mixedparts.masks import Rle, from_dense
from mixedparts.progress import Silent
from mixedparts.records import Task
from tests.calico.factory import micro_config, micro_model, micro_tokenizer, write_build


def pictures(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [
        Image.fromarray(rng.integers(0, 255, (30 + 3 * n, 41, 3), dtype=np.uint8))
        for n in range(count)
    ]


@pytest.fixture
def predictor() -> Predictor:
    model, config = micro_model(seed=2)
    return Predictor(model, config, micro_tokenizer())


def answering(
    predictor: Predictor, answers: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> Predictor:
    """Make the predictor say given answers, one a row; masks are decoded for real."""
    tokenizer = predictor.tokenizer
    rows = [
        [*tokenizer(text, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
        for text in answers
    ]
    length = max(map(len, rows))
    tokens = torch.tensor([row + [tokenizer.pad_token_id] * (length - len(row)) for row in rows])
    width = predictor.config.language.hidden_size
    states = torch.randn(*tokens.shape, width, generator=torch.Generator().manual_seed(0))
    finished = torch.ones(len(rows), dtype=torch.bool)
    spoken = Generated(tokens, states, finished)
    monkeypatch.setattr("calico.inference.predictor.generate", lambda *_: spoken)
    return predictor


def ask(predictor: Predictor, count: int) -> list[Prediction]:
    shown = tuple(pictures(2))
    return list(
        predictor.predict([Query(str(n), "Which object?", shown) for n in range(count)], count)
    )


class TestOutcomes:
    def test_a_well_formed_answer(
        self, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        text = "Both pictures contain <p> a mug </p> [SEG] (IMAGE1) [SEG] (IMAGE2)."
        (found,) = ask(answering(predictor, [text], monkeypatch), 1)
        assert found.answer == text
        assert [(s.label, s.image) for s in found.segments] == [("mug", 0), ("mug", 1)]
        sizes = [(s.mask.height, s.mask.width) for s in found.segments]
        assert sizes == [(30, 41), (33, 41)]
        assert all(0 <= s.score <= 1 for s in found.segments)
        assert found.untagged == 0

    @pytest.mark.parametrize(
        ("text", "segments", "counted"),
        [
            ("Both pictures contain a mug.", [], {"without_masks": 1}),
            ("", [], {"without_masks": 1}),
            ("<p> a mug </p> [SEG]", [("mug", 0)], {"untagged": 1}),
            ("[SEG] (IMAGE2) a", [("", 1)], {"unnamed": 1}),
            (
                "</p> <p> <p> [SEG] [SEG] (IMAGE1)",
                [("", 0), ("", 0)],
                {"untagged": 1, "unnamed": 2},
            ),
            ("(IMAGE2) (IMAGE1) </p>", [], {"without_masks": 1}),
        ],
    )
    def test_malformed_answers_are_counted(
        self,
        predictor: Predictor,
        monkeypatch: pytest.MonkeyPatch,
        text: str,
        segments: list[tuple[str, int]],
        counted: dict[str, int],
    ) -> None:
        (found,) = ask(answering(predictor, [text], monkeypatch), 1)
        assert [(s.label, s.image) for s in found.segments] == segments
        assert predictor.outcomes.answers == 1
        for name, number in counted.items():
            assert getattr(predictor.outcomes, name) == number, name

    def test_a_tag_of_an_image_that_there_is_not(
        self, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spoken = answering(predictor, ["<p> a mug </p> [SEG] (IMAGE2) [SEG] (IMAGE1)"], monkeypatch)
        (found,) = spoken.predict([Query("one", "Which object?", tuple(pictures(1)))])
        assert [(s.label, s.image) for s in found.segments] == [("mug", 0)]
        assert spoken.outcomes.unknown_image == 1

    def test_masks_go_with_their_answers(
        self, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        texts = [
            "<p> a mug </p> [SEG] (IMAGE1)",
            "Which object?",
            "<p> a mug </p> [SEG] (IMAGE2) and <p> the lid </p> [SEG] (IMAGE1)",
        ]
        found = ask(answering(predictor, texts, monkeypatch), 3)
        labels = [[(s.label, s.image) for s in one.segments] for one in found]
        assert labels == [[("mug", 0)], [], [("mug", 1), ("lid", 0)]]


class TestBatches:
    def test_batches_equal_single_questions(self, predictor: Predictor) -> None:
        shown = pictures(5)
        queries = [
            Query(str(n), question, (shown[n], shown[(n + 2) % 5]))
            for n, question in enumerate(
                ["Which object?", "Find the common parts of the two objects.", "Which parts?"]
            )
        ]
        together = list(predictor.predict(queries, 3))
        alone = [next(iter(predictor.predict([query]))) for query in queries]
        assert [p.id for p in together] == ["0", "1", "2"]
        assert [p.answer for p in together] == [p.answer for p in alone]
        first, second = ([s.mask for p in run for s in p.segments] for run in (together, alone))
        assert first == second

    def test_each_picture_is_encoded_once(self, predictor: Predictor) -> None:
        shown = pictures(3)
        encoded = []
        predictor.model.encoders.vision.register_forward_hook(
            lambda _, inputs, __: encoded.append(len(inputs[0]))
        )
        queries = [
            Query(str(n), "Which object?", (shown[n], shown[n + 1]), (f"k{n}", f"k{n + 1}"))
            for n in (0, 1, 0)
        ]
        list(predictor.predict(queries, 1))
        assert encoded == [1, 1, 1]

    def test_queries_with_other_numbers_of_pictures_can_be_mixed(
        self, predictor: Predictor
    ) -> None:
        shown = pictures(2)
        queries = [Query(str(n), "Which object?", tuple(shown[: 1 + n % 2])) for n in range(4)]
        assert [p.id for p in predictor.predict(queries, 4)] == ["0", "1", "2", "3"]

    def test_too_many_pictures_are_refused(self, predictor: Predictor) -> None:
        with pytest.raises(InputError, match="3 pictures"):
            list(predictor.predict([Query("x", "Which object?", tuple(pictures(3)))]))

    def test_rows_without_pictures_are_refused(self, predictor: Predictor) -> None:
        row = {"id": "x", "question": "?", "images": [{"row": 0}], "source": "", "split": ""}
        with pytest.raises(InputError, match="pixels"):
            list(predictor.predict_rows([row]))


def test_the_picture_shows_masks_in_the_colour_of_their_words() -> None:
    shown = pictures(2)
    masks = []
    for picture in shown:
        dense = np.zeros((picture.height, picture.width), np.uint8)
        dense[5:20, 5:30] = 1
        masks.append(from_dense(dense))
    segments = tuple(Segment("mug", number, mask) for number, mask in enumerate(masks))
    answer = "Both pictures contain <p> a mug </p> [SEG] (IMAGE1) [SEG] (IMAGE2)."
    drawn = draw_prediction(shown, "Which object?", Prediction("x", answer, segments))
    bare = draw_prediction(shown, "Which object?", Prediction("x", answer, ()))
    assert drawn.size == bare.size
    assert (np.asarray(drawn) != np.asarray(bare)).any(-1).mean() > 0.1


def test_an_empty_mask_and_a_long_answer_can_be_drawn() -> None:
    shown = pictures(2)
    empty = Rle(30, 41, from_dense(np.zeros((30, 41), np.uint8)).counts)
    answer = "<p> " + "very " * 60 + "long </p> [SEG] (IMAGE1)"
    draw_prediction(shown, "?" * 300, Prediction("x", answer, (Segment("", 0, empty),)))


class TestCommand:
    @pytest.fixture(scope="class")
    def trained(self, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
        folder = tmp_path_factory.mktemp("trained")
        dataset = BuiltDataset(write_build(folder / "build", 6))
        train(micro_config(), dataset, RunSettings(folder / "run", max_steps=1), Silent())
        table = dataset.images("train")
        for row in range(2):
            (folder / f"{row}.png").write_bytes(table.read(row))
        return folder, folder / "run"

    def test_it_writes_picture_masks_and_answer(
        self, trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder, run = trained
        arguments = [str(folder / "0.png"), str(folder / "1.png"), "--checkpoint", str(run)]
        assert command.main([*arguments, "--out", str(tmp_path / "out"), "--threads", "1"]) == 0
        answer = json.loads((tmp_path / "out" / "prediction.json").read_text())
        assert answer["answer"] in capsys.readouterr().out
        with Image.open(tmp_path / "out" / "overlay.png") as picture:
            assert picture.width > 400
        for segment in answer["segments"]:
            with Image.open(tmp_path / "out" / segment["file"]) as mask:
                assert mask.size[::-1] == tuple(segment["mask"]["size"])

    def test_a_folder_of_pairs_is_answered(
        self, trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder, run = trained
        for name in ("one", "two"):
            (tmp_path / "pairs" / name).mkdir(parents=True)
            for row in range(2):
                data = (folder / f"{row}.png").read_bytes()
                (tmp_path / "pairs" / name / f"{row}.png").write_bytes(data)
        fixed = ["--pairs", str(tmp_path / "pairs"), "--checkpoint", str(run)]
        fixed += ["--out", str(tmp_path / "out"), "--threads", "1", "--quiet"]
        assert command.main(fixed) == 0
        assert "answered: 2, answered before: 0" in capsys.readouterr().out
        (tmp_path / "pairs" / "two" / "1.png").write_bytes(b"")
        assert command.main(fixed) == 1
        printed = capsys.readouterr()
        assert "answered: 0, answered before: 1" in printed.out
        assert "rejected: 1, see " in printed.err
        lines = (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()
        assert [json.loads(line)["id"] for line in lines] == ["one"]
        assert command.main([*fixed, "--num-beams", "2"]) == 2
        assert "another run: generation differ" in capsys.readouterr().err

    def test_masks_of_an_earlier_answer_do_not_stay(
        self, trained: tuple[Path, Path], tmp_path: Path
    ) -> None:
        shown = tuple(pictures(2))
        mask = from_dense(np.ones((shown[0].height, shown[0].width), np.uint8))
        both = (Segment("mug", 0, mask), Segment("a/b", 0, mask))
        (tmp_path / "mine.txt").write_text("stays")
        VisualAnswer(Prediction("x", "", both), "?", shown).save(tmp_path)
        assert (tmp_path / "mask-02-image1-a-b.png").is_file()
        VisualAnswer(Prediction("x", "", both[:1]), "?", shown).save(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "mask-01-image1-mug.png", "mine.txt", "overlay.png", "prediction.json",
        ]  # fmt: skip

    def test_three_lines_of_python(self, trained: tuple[Path, Path]) -> None:
        folder, run = trained
        model = calico.load(run)
        answer = model(folder / "0.png", str(folder / "1.png"), task="unique_parts")
        shown = [Image.open(folder / f"{row}.png") for row in range(2)]
        again = model(*shown, question=answer.question)
        assert answer.prediction == again.prediction
        assert answer.question == task_question("unique_parts")
        assert answer.overlay().width > 400
        assert [(label, image) for label, image, _ in answer.masks()] == [
            (segment.label, segment.image) for segment in answer.segments
        ]
        with pytest.raises(UsageError, match="no task 'parts'"):
            model(folder / "0.png", folder / "1.png", task="parts")
        with pytest.raises(InputError, match=r"none\.png"):
            model(folder / "none.png", folder / "1.png")

    @pytest.mark.parametrize(
        ("arguments", "code", "said"),
        [
            ((), 2, "give either pictures, or --pairs"),
            (("0.png", "--pairs", "."), 2, "give either pictures, or --pairs"),
            (("--pairs", ".", "--question", "?"), 2, "in the column question"),
            (("--pairs", "none"), 3, "there is no none"),
            (("0.png", "1.png", "--out", "0.png"), 2, "is a file"),
            (("0.png", "1.png", "--out", "0.png/x"), 2, "is a file"),
            (("0.png", "."), 3, "no picture"),
        ],
    )
    def test_bad_usage_is_one_message(
        self,
        trained: tuple[Path, Path],
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        arguments: tuple[str, ...],
        code: int,
        said: str,
    ) -> None:
        monkeypatch.chdir(trained[0])
        assert command.main([*arguments, "--checkpoint", "run"]) == code
        printed = capsys.readouterr()
        assert said in printed.err
        assert printed.out == ""

    @pytest.mark.parametrize(
        ("first", "checkpoint", "said"),
        [
            ("missing.png", "run", "missing.png"),
            ("build/pairs/train-00000-of-00001.parquet", "run", "cannot be decoded"),
            ("0.png", "build", "no checkpoint"),
        ],
    )
    def test_bad_input_is_one_message(
        self,
        trained: tuple[Path, Path],
        capsys: pytest.CaptureFixture[str],
        first: str,
        checkpoint: str,
        said: str,
    ) -> None:
        folder, _ = trained
        arguments = [str(folder / first), str(folder / "1.png")]
        code = command.main([*arguments, "--checkpoint", str(folder / checkpoint)])
        assert code == 3
        errors = capsys.readouterr().err
        assert said in errors
        assert "Traceback" not in errors


def test_importing_calico_loads_nothing_heavy() -> None:
    program = "import sys, calico; sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_command_offers_every_task() -> None:
    assert tuple(map(str, Task)) == command.TASKS


@pytest.mark.parametrize("module", ["train", "pretrain", "predict", "evaluate"])
def test_help_needs_no_heavy_library(module: str) -> None:
    program = (
        f"import sys\nfrom calico.cli import {module}\ntry: {module}.main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'torch', 'transformers', 'numpy', 'pyarrow'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert shown.returncode == 0
    assert "examples:" in shown.stdout


def test_rows_of_a_dataset_are_answered_in_order(predictor: Predictor, tmp_path: Path) -> None:
    dataset = BuiltDataset(write_build(tmp_path / "build", 4))
    table = dataset.images("train")

    def rows() -> Iterator[dict[str, object]]:
        for row in dataset.pairs("train").table.to_pylist():
            refs = [
                {**ref, "pixels": open_picture(table.read(ref["row"]), "")} for ref in row["images"]
            ]
            yield {**row, "images": refs}

    found = list(predictor.predict_rows(rows(), batch_size=3))
    assert [p.id for p in found] == [f"train-{n}" for n in range(4)]
