"""Runs that stop and go on bit for bit, the log they keep, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from calico.checkpoints.save_load import find_checkpoint
from calico.dataset.pairs import BuiltDataset
from calico.training.train import RunSettings, train
from mixedparts.errors import InputError, UsageError
from mixedparts.progress import Silent
from tests.factories.micro_build import write_build
from tests.factories.micro_model import lora_config, micro_config
from tests.oracles.digests import digests


class Interrupted(Exception):
    """Stands for a kill."""


def stop_after(step: int):
    def check(done: int) -> None:
        if done == step:
            raise Interrupted

    return check


def tensors(checkpoint: Path) -> dict[str, torch.Tensor]:
    return {
        f"{name}:{key}": value
        for name in ("model", "frozen", "training")
        for key, value in load_file(checkpoint / f"{name}.safetensors").items()
    }


class TestResume:
    def test_a_killed_run_goes_on_bit_for_bit(
        self, dataset: BuiltDataset, encoders: Path, finished: Path, tmp_path: Path
    ) -> None:
        settings = RunSettings(tmp_path / "killed", encoders)
        with pytest.raises(Interrupted):
            train(lora_config(), dataset, settings, Silent(), stop_after(5))
        assert find_checkpoint(settings.output).name == "checkpoint-000003"
        resumed = train(lora_config(), dataset, replace(settings, resume=True), Silent())
        assert resumed.name == finished.name == "checkpoint-000008"
        ours, theirs = tensors(resumed), tensors(finished)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        # All files: results carry the digest of the whole checkpoint.
        assert digests(resumed) == digests(finished)

    def test_what_a_kill_left_half_written_is_removed(
        self, dataset: BuiltDataset, encoders: Path, tmp_path: Path
    ) -> None:
        settings = RunSettings(tmp_path / "left", encoders, max_steps=1)
        train(lora_config(), dataset, settings, Silent())
        (settings.output / ".best.json.1.tmp").write_text("{")
        (settings.output / ".checkpoint-000002.1.tmp").mkdir()
        (settings.output / "features" / ".0123.1.tmp").mkdir(parents=True)
        (settings.output / ".notes.tmp").write_text("mine")
        train(lora_config(), dataset, replace(settings, resume=True, max_steps=2), Silent())
        assert [path.name for path in settings.output.glob(".*")] == [".notes.tmp"]
        assert not list((settings.output / "features").glob(".*"))

    def test_stages_of_encoders_that_are_finished_are_removed(
        self, dataset: BuiltDataset, encoders: Path, tmp_path: Path
    ) -> None:
        output = tmp_path / "run"
        shutil.copytree(encoders, output / "encoders")
        (output / ".encoders.begun").mkdir()
        train(micro_config(), dataset, RunSettings(output, max_steps=1), Silent())
        assert not list(output.glob(".*"))

    def test_max_steps_stops_within_the_same_schedule(
        self, dataset: BuiltDataset, encoders: Path, finished: Path, tmp_path: Path
    ) -> None:
        settings = RunSettings(tmp_path / "short", encoders, max_steps=2)
        first = train(lora_config(), dataset, settings, Silent())
        assert first.name == "checkpoint-000002"
        whole = replace(settings, max_steps=None, resume=True)
        resumed = train(lora_config(), dataset, whole, Silent())
        ours, theirs = tensors(resumed), tensors(finished)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)

    def test_a_run_is_never_overwritten(
        self, dataset: BuiltDataset, encoders: Path, finished: Path
    ) -> None:
        with pytest.raises(UsageError, match="--resume auto"):
            train(lora_config(), dataset, RunSettings(finished.parent, encoders), Silent())

    def test_another_configuration_is_refused(
        self, dataset: BuiltDataset, encoders: Path, finished: Path
    ) -> None:
        other = micro_config(
            language={"tuning": "lora", "lora_dropout": 0.3}, training={"learning_rate": 0.5}
        )
        settings = RunSettings(finished.parent, encoders, resume=True)
        with pytest.raises(UsageError, match=r"learning_rate: 0\.5"):
            train(other, dataset, settings, Silent())

    def test_another_dataset_is_refused(
        self, encoders: Path, finished: Path, tmp_path: Path
    ) -> None:
        other = BuiltDataset(write_build(tmp_path / "other", 5))
        settings = RunSettings(finished.parent, encoders, resume=True)
        with pytest.raises(InputError, match="another dataset"):
            train(lora_config(), other, settings, Silent())

    def test_only_the_newest_checkpoints_are_kept(
        self, dataset: BuiltDataset, encoders: Path, tmp_path: Path
    ) -> None:
        config = micro_config(training={"keep": 1})
        settings = RunSettings(tmp_path / "run", encoders)
        train(config, dataset, settings, Silent())
        assert [p.name for p in settings.output.glob("*checkpoint*")] == ["checkpoint-000008"]

    def test_encoders_are_made_where_none_are_given(
        self, dataset: BuiltDataset, tmp_path: Path
    ) -> None:
        said = []

        class Listening(Silent):
            def log(self, message: str) -> None:
                said.append(message)

        settings = RunSettings(tmp_path / "run", max_steps=1)
        train(micro_config(), dataset, settings, Listening())
        assert (settings.output / "encoders" / "encoders.safetensors").is_file()
        assert any("pretrained encoders" in text for text in said)

    def test_a_preset_without_loadable_weights_is_one_message(
        self, dataset: BuiltDataset, tmp_path: Path
    ) -> None:
        none = dict.fromkeys(("steps", "semantic_steps", "mask_steps", "qformer_steps"), 0)
        config = micro_config(pretraining=none)
        with pytest.raises(UsageError, match="published weights"):
            train(config, dataset, RunSettings(tmp_path / "run"), Silent())


class TestLog:
    def test_every_line_is_json_with_the_losses(self, finished: Path) -> None:
        lines = (finished.parent / "train.log.jsonl").read_text().splitlines()
        parsed = [json.loads(line) for line in lines]
        assert [line["step"] for line in parsed] == [2, 4, 6, 8]
        assert all(line["total"] > 0 and line["text"] > 0 for line in parsed)
