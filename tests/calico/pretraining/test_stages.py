"""Pretraining that is killed goes on with the first stage that is not finished."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from calico.config.calico import CalicoConfig
from calico.dataset.pairs import BuiltDataset
from calico.pretraining.encoder_files import WEIGHTS
from calico.pretraining.pretrain import pretrain
from mixedparts.progress import Silent
from tests.factories.micro_model import micro_config

STAGES = ("global encoder", "semantic encoder", "Q-Former", "mask encoder and decoder")


class Killed(Exception):
    """Stands for a kill."""


class Watch(Silent):
    """Notes which stages are taught, and ends the run when one of them begins.

    Args:
        fatal: name of that stage; empty for none.
    """

    def __init__(self, fatal: str = "") -> None:
        super().__init__()
        self.taught: list[str] = []
        self.fatal = fatal

    def start(self, stage: str, total: int | None = None, unit: str = "") -> None:
        """Note a stage of pretraining."""
        name = stage.removeprefix("pretraining ")
        if name not in STAGES:
            return
        if name == self.fatal:
            raise Killed(name)
        self.taught.append(name)


@pytest.fixture(scope="module")
def undisturbed(dataset: BuiltDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrain(config(), dataset, tmp_path_factory.mktemp("undisturbed") / "e", Silent())


def config() -> CalicoConfig:
    """Every stage starts from weights of an earlier one."""
    return micro_config(
        semantic={"hidden_size": 32}, vision={"mlp_size": 32}, pretraining={"carry_over": True}
    )


@pytest.mark.parametrize("number", range(len(STAGES)))
def test_finished_stages_are_not_taught_again(
    dataset: BuiltDataset, undisturbed: Path, tmp_path: Path, number: int
) -> None:
    with pytest.raises(Killed):
        pretrain(config(), dataset, tmp_path / "encoders", Watch(STAGES[number]))
    assert not (tmp_path / "encoders").exists()
    again = Watch()
    folder = pretrain(config(), dataset, tmp_path / "encoders", again)
    assert again.taught == list(STAGES[number:])
    ours, theirs = load_file(folder / WEIGHTS), load_file(undisturbed / WEIGHTS)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert {path.name for path in tmp_path.iterdir()} == {"encoders", "encoders.log.jsonl"}


def test_stages_of_another_configuration_are_not_used(
    dataset: BuiltDataset, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        pretrain(config(), dataset, tmp_path / "encoders", Watch(STAGES[-1]))
    longer = replace(config().pretraining, steps=3)
    again = Watch()
    pretrain(replace(config(), pretraining=longer), dataset, tmp_path / "encoders", again)
    assert again.taught == list(STAGES)


def test_a_stage_that_a_kill_cut_is_taught_again(dataset: BuiltDataset, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        pretrain(config(), dataset, tmp_path / "encoders", Watch(STAGES[-1]))
    (begun,) = tmp_path.glob(".*.begun")
    whole = begun / "qformer.safetensors"
    whole.rename(begun / ".qformer.safetensors.1.tmp")
    again = Watch()
    pretrain(config(), dataset, tmp_path / "encoders", again)
    assert again.taught == list(STAGES[2:])
