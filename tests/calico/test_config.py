"""Configurations: presets, YAML in and out, and faults reported together."""

from __future__ import annotations

from pathlib import Path

import pytest

from calico.config.calico import CalicoConfig, CorrespondenceConfig
from calico.config.presets import PRESETS, preset, seven_b, tiny
from calico.config.yaml_io import override, read_config, write_config
from mixedparts.errors import InputError, UsageError


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_the_way_through_yaml(name: str, tmp_path: Path) -> None:
    config = preset(name)
    write_config(config, tmp_path / "config.yaml")
    assert read_config(tmp_path / "config.yaml") == config


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


def test_a_file_can_name_its_preset_and_change_values(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("preset: tiny\nloss: {dice: 1}\ntraining: {learning_rate: 2e-3}\n")
    config = read_config(path)
    assert config.loss.dice == 1.0
    assert config.training.learning_rate == 0.002
    assert config.vision == tiny().vision


def test_all_faults_of_a_file_come_together() -> None:
    faulty = {"vison": 1, "loss": {"dice": "much", "mask_kind": "l2"}, "training": {"betas": [0.9]}}
    with pytest.raises(UsageError) as raised:
        override(tiny(), faulty, "my.yaml")
    text = str(raised.value)
    for expected in ("vison: unknown, did you mean 'vision'?", "loss.dice", "loss.mask_kind"):
        assert expected in text
    assert "training.betas: expected 2 values" in text


def test_all_faults_of_values_come_together() -> None:
    faulty = {
        "vision": {"heads": 3},
        "correspondence": {"layers": [1, 9]},
        "qformer": {"sees_question": True, "kind": "linear"},
        "prompt": {"lead": "no pictures"},
        "training": {"steps": 0},
    }
    with pytest.raises(UsageError) as raised:
        override(tiny(), faulty, "my.yaml")
    text = str(raised.value)
    for name in ("vision.hidden_size", "correspondence.layers", "qformer.sees_question"):
        assert name in text
    assert "prompt.lead" in text
    assert "training.steps" in text


def test_layers_that_repeat_are_refused() -> None:
    with pytest.raises(UsageError, match=r"correspondence\.layers"):
        CalicoConfig(correspondence=CorrespondenceConfig(layers=(11, 11)))


@pytest.mark.parametrize("text", [": [", "- a\n- b\n"])
def test_a_file_that_is_no_mapping_is_one_message(text: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"broken\.yaml"):
        read_config(path)


def test_unknown_presets_are_named() -> None:
    with pytest.raises(UsageError, match="tinny"):
        preset("tinny")
