"""One micro build, its pretrained encoders and one whole run, which many tests read.

Settings of the process that the commands make are undone after every test.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from calico.dataset.pairs import BuiltDataset
from calico.pretraining.pretrain import pretrain
from calico.training.train import RunSettings, train
from mixedparts.progress import Silent
from tests.factories.micro_build import write_build
from tests.factories.micro_model import lora_config, micro_config


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Micro models run faster in one thread than in several that wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _process_settings_stay() -> Iterator[None]:
    """Commands set threads and flush denormal numbers to zero: undo both for other tests."""
    yield
    torch.set_flush_denormal(False)
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> BuiltDataset:
    """A build of two splits with six images and six samples each; do not write there."""
    folder = tmp_path_factory.mktemp("micro") / "build"
    return BuiltDataset(write_build(folder, 6, ("train", "validation")))


@pytest.fixture(scope="session")
def encoders(dataset: BuiltDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Encoders pretrained on `dataset` with `micro_config()`; do not write there."""
    folder = tmp_path_factory.mktemp("pretrained") / "encoders"
    return pretrain(micro_config(), dataset, folder, Silent())


@pytest.fixture(scope="session")
def finished(
    dataset: BuiltDataset, encoders: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The last checkpoint of a run of 8 steps with `lora_config()`; do not write there."""
    output = tmp_path_factory.mktemp("run") / "whole"
    return train(lora_config(), dataset, RunSettings(output, encoders), Silent())
