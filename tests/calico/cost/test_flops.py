"""Operations that are counted without weights."""

from __future__ import annotations

import pytest

from calico.config.presets import seven_b
from calico.cost.flops import Workload, calico_flops
from calico.cost.memory import with_checkpointing
from calico.cost.peers import GLAMM, LISA, peer_flops
from calico.cost.tables import decoding_flops, step_flops
from tests.factories.micro_model import micro_config


class TestOperations:
    def test_the_7b_models_parts_agree_with_what_is_known_of_them(self) -> None:
        """SAM-H, EVA-g and DINOv2-B as measured elsewhere; two images each."""
        found = {name: count / 1e9 for name, count in calico_flops(seven_b(), Workload()).items()}
        assert found["SAM image encoder"] / 2 == pytest.approx(5961, abs=1)
        assert found["global encoder (EVA-CLIP)"] / 2 == pytest.approx(521, abs=1)
        # With four registers.
        assert found["semantic encoder (DINOv2)"] / 2 == pytest.approx(47, abs=0.2)
        assert found["Q-Former and projection"] / 2 == pytest.approx(12.9, abs=0.3)
        assert found["language model"] == pytest.approx(2525, abs=20)

    def test_calico_is_cheaper_than_the_other_layouts(self) -> None:
        workload = Workload()
        own = sum(calico_flops(seven_b(), workload).values())
        other = {layout: peer_flops(layout, seven_b(), workload) for layout in (GLAMM, LISA)}
        assert (GLAMM.tokens, LISA.tokens) == (576, 256)
        assert own / sum(other[GLAMM].values()) == pytest.approx(0.519, abs=0.005)
        assert own < sum(other[LISA].values()) < sum(other[GLAMM].values())
        assert decoding_flops(seven_b()) == pytest.approx(13.3e9, rel=0.02)

    def test_a_cache_saves_the_encoders_and_checkpointing_costs_a_pass(self) -> None:
        workload, config = Workload(), micro_config(language={"tuning": "lora"})
        counts = calico_flops(config, workload)
        encoders = sum(counts[n] for n in counts if "encoder" in n and "SAM mask" not in n)
        whole, cached = (step_flops(config, workload, way) for way in (False, True))
        assert whole - cached == encoders
        switched = step_flops(with_checkpointing(config, True), workload, True)
        assert switched - cached == counts["language model"]

    def test_ablations_cost_less(self) -> None:
        full = calico_flops(micro_config(), Workload())
        without = calico_flops(micro_config(correspondence={"layers": []}), Workload())
        assert "CEM" in full
        assert "CEM" not in without
        assert sum(without.values()) < sum(full.values())
