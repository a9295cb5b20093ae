"""Presets, and the defaults of the paper."""

from __future__ import annotations

import pytest

from calico.config.calico import CalicoConfig
from calico.config.presets import preset, seven_b, tiny
from mixedparts.errors import UsageError


def test_the_defaults_are_the_papers() -> None:
    config = CalicoConfig()
    assert (config.loss.text, config.loss.mask, config.loss.dice) == (1.0, 2.0, 0.5)
    assert config.correspondence.layers == (11, 22)
    assert config.qformer.queries == 32
    assert (config.language.lora_rank, config.language.lora_targets) == (8, ("q_proj", "v_proj"))
    assert seven_b().sam.mask_size == 256


def test_the_tiny_preset_has_every_part() -> None:
    config = tiny()
    assert config.correspondence.extraction
    assert config.correspondence.conditioning
    assert len(config.correspondence.layers) == 2
    assert config.language.tuning == "full"


def test_unknown_presets_are_named() -> None:
    with pytest.raises(UsageError, match="tinny"):
        preset("tinny")
