"""One micro build, its pretrained encoders and one whole run, which many tests read."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from calico.checkpoints.save_load import save_checkpoint
from calico.config.calico import CalicoConfig
from calico.dataset.pairs import BuiltDataset
from calico.pretraining.pretrain import pretrain
from calico.training.train import RunSettings, train
from mixedparts.progress import Silent
from tests.factories.micro_build import write_build
from tests.factories.micro_model import (
    lora_config,
    micro_config,
    micro_model,
    micro_tokenizer,
    random_cams,
)
from tests.factories.published_weight_files import small_parts

# `make test-demo` runs these; gradio does not allow the newest Pillow, on which the others run.
collect_ignore = [] if find_spec("gradio") else ["demo", "cli/test_demo.py"]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Micro models run faster in one thread than in several that wait for each other."""
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


@pytest.fixture
def lora_checkpoint(tmp_path: Path) -> Path:
    """A checkpoint of a model with adapters that matter; the test's own."""
    words = len(micro_tokenizer())
    model, config = micro_model(seed=4, language={"tuning": "lora", "vocabulary": words})
    random_cams(model)
    for name, weight in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.2)
    save_checkpoint(tmp_path / "trained", model, config, micro_tokenizer(), 7)
    return tmp_path / "trained"


@pytest.fixture
def parts(tmp_path: Path) -> tuple[CalicoConfig, dict[str, Any], list[Path]]:
    """InstructBLIP, DINOv2 and native SAM of micro size, as models and as files of the test."""
    return small_parts(tmp_path)
