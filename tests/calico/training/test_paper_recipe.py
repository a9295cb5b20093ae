"""The training of the preset 7b, on a model of micro size: a run, stopped and resumed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from calico.config.calico import CalicoConfig
from calico.config.presets import seven_b
from calico.dataset.pairs import BuiltDataset
from calico.inference.predictor import Predictor
from calico.inference.queries import Query
from calico.processing.feature_cache import FeatureCache
from calico.training.augmented_samples import SampleAugmenter
from calico.training.train import RunSettings, train
from mixedparts.progress import Silent
from tests.factories.micro_build import write_build
from tests.factories.micro_model import micro_config
from tests.factories.noise import noise_images


def recipe() -> CalicoConfig:
    """Losses, prompt and samples of the 7b preset; sizes and steps of the micro model."""
    paper, micro = seven_b(), micro_config(training={"features": "encode", "steps": 4})
    chosen = replace(
        micro.training,
        augment=paper.training.augment,
        multi_turn=paper.training.multi_turn,
        max_turns=paper.training.max_turns,
        flips=paper.training.flips,
        save_every=2,
    )
    return replace(micro, loss=paper.loss, prompt=paper.prompt, training=chosen)


def test_a_stopped_run_goes_on_as_if_it_had_not_been(encoders: Path, tmp_path: Path) -> None:
    # Every sample has a partner of the same two images.
    dataset = BuiltDataset(write_build(tmp_path / "build", images=4, samples=8))
    config = recipe()
    turns = [
        len(one.turns)
        for step in range(4)
        for one in SampleAugmenter(dataset.pairs("train"), config.training).samples(step)
    ]
    assert set(turns) == {2}
    cache = FeatureCache(tmp_path / "cache", 1 << 30)
    whole = train(config, dataset, RunSettings(tmp_path / "whole", encoders), Silent())
    settings = RunSettings(tmp_path / "parts", encoders, resume=True, max_steps=2, cache=cache)
    train(config, dataset, settings, Silent())
    resumed = train(config, dataset, replace(settings, max_steps=None), Silent())
    found = [load_file(place / "model.safetensors") for place in (whole, resumed)]
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    # The global encoder never sees an image twice alike: features of the other two are kept.
    kept = [torch.tensor(load_file(path)["features"].shape) for path in files(tmp_path / "cache")]
    widths = {int(shape[-1]) for shape in kept if len(shape) == 2}
    assert widths == {config.semantic.hidden_size}
    assert any(len(shape) == 3 for shape in kept)
    log = (tmp_path / "whole" / "train.log.jsonl").read_text().splitlines()
    assert all(0 < json.loads(line)["mask"] < 10 for line in log if '"mask"' in line)
    query = Query("x", "Which object?", noise_images(2))
    (answer,) = Predictor.from_pretrained(whole, "cpu").predict([query])
    assert answer.id == "x"


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))
