"""Faults of a configuration are reported together."""

from __future__ import annotations

import pytest

from calico.config.calico import CalicoConfig, CorrespondenceConfig
from calico.config.presets import tiny
from calico.config.yaml_io import override
from mixedparts.errors import UsageError


def test_all_faults_of_a_file_come_together() -> None:
    faulty = {"vison": 1, "loss": {"dice": "much", "mask_kind": "l2"}, "training": {"betas": [0.9]}}
    with pytest.raises(UsageError) as raised:
        override(tiny(), faulty, "my.yaml")
    text = str(raised.value)
    for expected in ("vison: unknown. Did you mean 'vision'", "loss.dice", "loss.mask_kind"):
        assert expected in text
    assert "training.betas: expected list of length 2" in text


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
