"""Pretrained encoders: what changes, what is repeatable, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from calico.dataset.pairs import BuiltDataset
from calico.pretraining.encoder_files import load_encoders
from calico.pretraining.pretrain import pretrain
from mixedparts.errors import InputError, UsageError
from mixedparts.progress import Silent
from tests.factories.micro_model import micro_config, micro_model


class TestPretraining:
    def test_it_changes_every_encoder(self, encoders: Path) -> None:
        model, config = micro_model()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        load_encoders(model, config, encoders)
        changed = {
            name.rsplit(".", 1)[0]
            for name, value in model.state_dict().items()
            if not torch.equal(value, before[name])
        }
        for part in ("encoders.vision", "encoders.semantic", "encoders.sam", "bridge.qformer"):
            assert any(name.startswith(part) for name in changed)
        assert any(name.startswith("grounding.mask_decoder") for name in changed)
        assert not any(name.startswith("language") for name in changed)

    def test_the_same_seed_gives_the_same_weights(
        self, dataset: BuiltDataset, encoders: Path, tmp_path: Path
    ) -> None:
        again = pretrain(micro_config(), dataset, tmp_path / "encoders", Silent())
        first, second = (load_file(p / "encoders.safetensors") for p in (encoders, again))
        assert all(torch.equal(first[name], second[name]) for name in first)

    def test_encoders_of_another_architecture_are_refused(self, encoders: Path) -> None:
        model, config = micro_model()
        other = replace(config, vision=replace(config.vision, layers=2))
        with pytest.raises(UsageError, match=r"vision\.layers: 1 there, 2 here"):
            load_encoders(model, other, encoders)

    def test_a_folder_without_encoders_is_one_message(self, tmp_path: Path) -> None:
        model, config = micro_model()
        with pytest.raises(InputError, match="calico-pretrain"):
            load_encoders(model, config, tmp_path)
