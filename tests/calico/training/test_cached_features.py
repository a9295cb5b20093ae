"""Runs with a feature cache learn and answer the same as without."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from calico.dataset.pairs import BuiltDataset
from calico.inference.predictor import Predictor
from calico.inference.queries import Query
from calico.processing.feature_cache import FeatureCache
from calico.training.train import RunSettings, train
from mixedparts.errors import UsageError
from mixedparts.progress import Silent
from tests.factories.micro_model import micro_config, micro_model, micro_tokenizer
from tests.factories.noise import noise_image

ROOMY = 1 << 30


class TestResults:
    def test_training_learns_the_same_with_and_without(
        self, dataset: BuiltDataset, encoders: Path, tmp_path: Path
    ) -> None:
        config = micro_config(training={"features": "encode", "steps": 2})
        assert config.training.flips, "mirrored pictures are part of it"
        runs = []
        for number, limit in enumerate((0, ROOMY, ROOMY, 12_000)):
            cache = FeatureCache(tmp_path / f"cache{limit}", limit) if limit else None
            settings = RunSettings(tmp_path / f"run{number}", encoders, cache=cache)
            checkpoint = train(config, dataset, settings, Silent())
            runs.append(load_file(checkpoint / "model.safetensors"))
            if number == 2:
                assert cache is not None
                assert (cache.hits > 0, cache.misses) == (True, 0)
        for other in runs[1:]:
            assert all(torch.equal(runs[0][name], other[name]) for name in runs[0])

    def test_a_whole_store_takes_no_cache(
        self, dataset: BuiltDataset, encoders: Path, tmp_path: Path
    ) -> None:
        cache = FeatureCache(tmp_path / "cache", ROOMY)
        with pytest.raises(UsageError, match=r"training\.features: encode"):
            train(
                micro_config(),
                dataset,
                RunSettings(tmp_path / "run", encoders, cache=cache),
                Silent(),
            )

    def test_answers_are_the_same_with_and_without(self, tmp_path: Path) -> None:
        model, config = micro_model(seed=2)
        queries = [Query("x", "Which object?", (noise_image(0), noise_image(1)))]
        plain = Predictor(model, config, micro_tokenizer())
        expected = list(plain.predict(queries))
        for hits in (0, 6):
            predictor = Predictor(model, config, micro_tokenizer())
            cache = FeatureCache(tmp_path, ROOMY)
            predictor.use_cache(cache)
            assert list(predictor.predict(queries)) == expected
            assert cache.hits == hits
