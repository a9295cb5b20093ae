"""Configurations: presets, YAML in and out, and faults reported together."""

from __future__ import annotations

from pathlib import Path

import pytest

from calico.config.presets import PRESETS, preset, tiny
from calico.config.yaml_io import read_config, write_config
from mixedparts.errors import InputError


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_the_way_through_yaml(name: str, tmp_path: Path) -> None:
    config = preset(name)
    write_config(config, tmp_path / "config.yaml")
    assert read_config(tmp_path / "config.yaml") == config


def test_a_file_can_name_its_preset_and_change_values(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("preset: tiny\nloss: {dice: 1}\ntraining: {learning_rate: 2e-3}\n")
    config = read_config(path)
    assert config.loss.dice == 1.0
    assert config.training.learning_rate == 0.002
    assert config.vision == tiny().vision


@pytest.mark.parametrize("text", [": [", "- a\n- b\n"])
def test_a_file_that_is_no_mapping_is_one_message(text: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"broken\.yaml"):
        read_config(path)
