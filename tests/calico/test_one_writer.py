"""Whoever comes second to a folder is refused and changes nothing: training, answers, merging."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from calico.checkpoints.merge import merge_checkpoint
from calico.cli.evaluate import main as evaluate
from calico.dataset.pairs import BuiltDataset
from calico.inference.batch import predict_sets
from calico.inference.predictor import Predictor
from calico.pretraining.pretrain import pretrain
from calico.training.train import RunSettings, train
from mixedparts.errors import EnvironmentFault, UsageError
from mixedparts.progress import Silent
from mixedparts.storage.writer_lock import writing
from tests.conftest import command
from tests.factories.micro_model import lora_config, micro_config, micro_model, micro_tokenizer
from tests.oracles.digests import digests


def refused(out: Path, write: Callable[[], object]) -> None:
    """Write to a place while this process writes there already."""
    with writing(out):
        held = digests(out.parent)
        with pytest.raises(EnvironmentFault, match="another process is writing") as raised:
            write()
        assert f"(process {os.getpid()} on " in str(raised.value)
        assert digests(out.parent) == held
    assert not list(out.parent.glob(".*"))


@pytest.mark.parametrize("resume", [False, True])
def test_training(dataset: BuiltDataset, encoders: Path, tmp_path: Path, resume: bool) -> None:
    out = tmp_path / "run"
    if resume:
        train(lora_config(), dataset, RunSettings(out, encoders, max_steps=1), Silent())
        (out / ".checkpoint-000002.1.tmp").mkdir()  # the first one is writing it
    settings = RunSettings(out, encoders, resume=resume)
    refused(out, lambda: train(lora_config(), dataset, settings, Silent()))
    assert (out / ".checkpoint-000002.1.tmp").is_dir() == resume


def test_pretraining(dataset: BuiltDataset, tmp_path: Path) -> None:
    refused(
        tmp_path / "encoders",
        lambda: pretrain(micro_config(), dataset, tmp_path / "encoders", Silent()),
    )


def test_pretraining_that_another_process_has_finished_meanwhile(
    dataset: BuiltDataset, tmp_path: Path
) -> None:
    folder = tmp_path / "encoders"
    folder.mkdir()
    (folder / "encoders.safetensors").write_bytes(b"of the other")
    # Left where a kill came after the last step.
    (tmp_path / ".encoders.begun").mkdir()
    with pytest.raises(UsageError, match="exists already"):
        pretrain(micro_config(), dataset, folder, Silent())
    assert (folder / "encoders.safetensors").read_bytes() == b"of the other"
    assert os.listdir(tmp_path) == ["encoders"]


def test_answers_of_many_sets(tmp_path: Path) -> None:
    model, config = micro_model()
    predictor = Predictor(model, config, micro_tokenizer())
    out = tmp_path / "answers"
    (out / "answers" / ".7.tmp").mkdir(parents=True)
    refused(out, lambda: predict_sets(predictor, [], out, {"checkpoint": "c"}, 2, Silent()))
    assert (out / "answers" / ".7.tmp").is_dir()


@pytest.mark.parametrize("option", ["--save-predictions", "--json", "--markdown"])
def test_evaluation(
    built: Path,
    finished: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    option: str,
) -> None:
    out = tmp_path / "kept.jsonl"
    out.write_text("of an earlier evaluation\n")
    (tmp_path / ".kept.jsonl.part").write_text("of the first one\n")
    (tmp_path / ".kept.jsonl.7.tmp").write_text("of the first one\n")
    words = ["--dataset", str(built), "--split", "test", "--limit", "3", "--checkpoint"]
    with writing(out):
        held = digests(tmp_path)
        assert evaluate([*words, str(finished), option, str(out)]) == 3
        assert digests(tmp_path) == held
    told = capsys.readouterr().err
    assert f"another process is writing {out}: " in told
    assert f"(process {os.getpid()} on " in told


def test_merging(finished: Path, tmp_path: Path) -> None:
    refused(tmp_path / "merged", lambda: merge_checkpoint(finished, tmp_path / "merged"))


def test_the_command_ends_with_3(dataset: BuiltDataset, tmp_path: Path) -> None:
    """Two processes: the one with the lock's message ends the other."""
    out = tmp_path / "run"
    words = [command("calico-train"), "--dataset", dataset.path, "--output-dir", out]
    words += ["--device", "cpu", "--processes", "2", "--threads", "1"]
    with writing(out):
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 3
    # An old NumPy may warn of the processor before it.
    assert f"error: another process is writing {out}: " in done.stderr
    assert done.stderr.count("error:") == 1
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == []
