"""`calico-predict`: files of the command, and bad usage."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import calico
from calico.checkpoints.merge import merge_checkpoint
from calico.cli import predict as command
from calico.dataset.pairs import BuiltDataset
from calico.inference.answer import VisualAnswer
from calico.inference.queries import Query, task_question
from calico.predictions.types import Prediction, Segment
from calico.training.train import RunSettings, train
from mixedparts.errors import InputError, UsageError
from mixedparts.masks import from_dense
from mixedparts.progress import Silent
from mixedparts.records import Task
from mixedparts.storage.build_folder import BuildFolder
from tests.conftest import command as installed
from tests.factories.micro_model import micro_config
from tests.factories.noise import noise_images


@pytest.fixture(scope="module")
def trained(
    dataset: BuiltDataset, encoders: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A folder with a build, two images of it and a run of one step; and the run's folder."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "build").symlink_to(dataset.path)
    train(micro_config(), dataset, RunSettings(folder / "run", encoders, max_steps=1), Silent())
    table = dataset.images("train")
    for row in range(2):
        (folder / f"{row}.png").write_bytes(table.read(row))
    return folder, folder / "run"


class TestCommand:
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
        shown = noise_images(2)
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
            ((), 2, "give either images, or --pairs"),
            (("0.png", "--pairs", "."), 2, "give either images, or --pairs"),
            (("--pairs", ".", "--question", "?"), 2, "in the column question"),
            (("--pairs", "none"), 3, "there is no none"),
            (("0.png", "1.png", "--out", "0.png"), 2, "is a file"),
            (("0.png", "1.png", "--out", "0.png/x"), 2, "is a file"),
            (("0.png", "."), 3, "no image"),
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


def test_the_command_offers_every_task() -> None:
    assert tuple(map(str, Task)) == command.TASKS


@pytest.fixture(scope="module")
def of_photographs(
    dataset: BuiltDataset, encoders: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run of one step on a build that is not called synthetic."""
    run = tmp_path_factory.mktemp("photographs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BuildFolder, "synthetic", False)
        train(micro_config(), dataset, RunSettings(run, encoders, max_steps=1), Silent())
    return run


class TestSynthetic:
    """A model that was trained on synthetic images says so wherever it predicts."""

    def test_the_command_and_its_files(
        self, trained: tuple[Path, Path], of_photographs: Path, tmp_path: Path
    ) -> None:
        images = [str(trained[0] / "0.png"), str(trained[0] / "1.png")]
        for synthetic, checkpoint in ((True, trained[1]), (False, of_photographs)):
            words = [installed("calico-predict"), *images, "--checkpoint", str(checkpoint)]
            done = subprocess.run(
                [*words, "--out", str(tmp_path), "--threads", "1"],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            assert ("was trained on synthetic images" in done.stderr) == synthetic
            answer = json.loads((tmp_path / "prediction.json").read_text())
            assert answer["trained_on_synthetic_images"] is synthetic
            (line,) = calico.load(checkpoint).predict([Query("x", "?", noise_images(2))])
            assert line.synthetic is synthetic

    def test_the_overlay(self) -> None:
        shown = noise_images(2)
        plain = VisualAnswer(Prediction("x", "", ()), "?", shown).overlay()
        marked = VisualAnswer(Prediction("x", "", ()), "?", shown, synthetic=True).overlay()
        assert marked.height > plain.height
        assert np.asarray(marked)[plain.height - 24 :].min() < 128  # letters

    def test_resumed_and_merged_checkpoints(
        self,
        trained: tuple[Path, Path],
        of_photographs: Path,
        dataset: BuiltDataset,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        assert not calico.load(of_photographs).synthetic
        run = Path(shutil.copytree(trained[1], tmp_path / "run"))
        train(micro_config(), dataset, RunSettings(run, max_steps=2, resume=True), Silent())
        assert calico.load(run).synthetic
        caplog.clear()
        assert calico.load(merge_checkpoint(run, tmp_path / "merged")).synthetic
        assert "was trained on synthetic images" in caplog.text
