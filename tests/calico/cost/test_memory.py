"""Memory that is counted without weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from calico.config.presets import seven_b
from calico.cost.flops import Workload, calico_flops, meta_tensor, run_language_model
from calico.cost.memory import memory, saved_bytes, with_checkpointing
from calico.cost.skeleton import parts, skeleton
from tests.factories.micro_model import micro_config, micro_model


class TestMemory:
    def test_activations_counted_without_memory_are_those_of_a_real_pass(self) -> None:
        model, config = micro_model(language={"vocabulary": 300})
        width = config.language.hidden_size
        on_meta = skeleton(config)
        expected = saved_bytes(
            lambda: run_language_model(on_meta.language, 5, 20, meta_tensor(2, 20, width)), on_meta
        )
        real = torch.zeros(2, 20, width)
        mask = torch.zeros(1, 1, 20, 20, dtype=torch.bool)

        def run() -> Tensor:
            states = model.language.model(inputs_embeds=real, attention_mask=mask, use_cache=False)
            return model.language.lm_head(states.last_hidden_state[:, -5:])

        # Without memory attention takes the path that keeps its probabilities.
        assert 0.9 * expected < saved_bytes(run, model) <= expected

    def test_checkpointing_and_bf16_save_memory(self) -> None:
        workload = Workload()
        language = {"tuning": "lora", "vocabulary": 300}
        config = micro_config(language=language, training={"optimizer": "adamw"})
        plain = memory(config, workload, 2)
        saved = memory(with_checkpointing(config, True), workload, 2)
        assert saved.language < 0.6 * plain.language
        assert saved.training < plain.training
        half = memory(
            replace(config, execution=replace(config.execution, precision="bf16")), workload, 2
        )
        assert plain.frozen / 2 < half.frozen < 0.51 * plain.frozen
        assert half.trained == plain.trained == plain.gradients == plain.moments // 2
        assert half.cache == plain.cache // 2

    def test_muon_remembers_one_number_a_matrix(self) -> None:
        config = micro_config(language={"vocabulary": 300}, training={"optimizer": "muon"})
        other = replace(config, training=replace(config.training, optimizer="adamw"))
        muon, adamw = (memory(one, Workload(), 1) for one in (config, other))
        model, _ = micro_model()
        named = dict(model.language.model.named_parameters())
        layers = [weight for name, weight in named.items() if "proj" in name]
        assert all(weight.ndim == 2 for weight in layers)
        others = [*model.bridge.parameters(), *model.correspondence.parameters()]
        others += model.grounding.parameters()
        most = 4 * sum(one.numel() for one in (*layers, *others) if one.ndim == 2)
        least = 4 * sum(one.numel() for one in layers)
        assert least <= adamw.moments - muon.moments <= most

    def test_the_7b_models_bytes(self) -> None:
        found = memory(seven_b(), Workload(), 1)
        assert found.trained == 27_003_108 * 4
        assert found.frozen == pytest.approx(8_574_098_508 * 2, abs=2000)
        assert found.cache == 2 * 32 * 4096 * 192 * 2
        assert found.stored == 2 * (257 * 1408 + 256 * 768 + 256 * 64 * 64)

    def test_a_question_that_the_qformer_reads_costs_its_words_and_their_rows(self) -> None:
        plain = seven_b()
        reading = replace(plain, qformer=replace(plain.qformer, sees_question=True))
        counts = [
            {part.name: part.count for part in parts(skeleton(config))}["Q-Former"]
            for config in (plain, reading)
        ]
        assert counts == [105_137_664, 185_659_392 + 768], "with a row for [DEC]"
        workload = Workload()
        first, second = (calico_flops(config, workload) for config in (plain, reading))
        for name in ("Q-Former and projection", "CAMs, with the Q-Former again"):
            assert first[name] < second[name] < 2 * first[name]
        assert second["language model"] == first["language model"]

    def test_features_on_disk_are_kept_as_they_are_computed_or_halved(self) -> None:
        config = micro_config(language={"vocabulary": 300})
        encoded = replace(config, training=replace(config.training, features="encode"))
        sizes = [memory(one, Workload(), 1).stored for one in (config, encoded)]
        assert sizes[1] == 2 * sizes[0]
