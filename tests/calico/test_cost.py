"""Parameters, operations and memory that are counted without weights."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from calico.cli import cost as command
from calico.cli import train as train_command
from calico.config.presets import seven_b, seven_b_with, tiny
from calico.cost.flops import Workload, calico_flops, meta, speak
from calico.cost.memory import memory, saved_bytes, with_checkpointing
from calico.cost.peers import GLAMM, LISA, peer_flops
from calico.cost.skeleton import parts, skeleton
from calico.cost.tables import decoding_flops, step_flops
from tests.calico.factory import micro_config, micro_model

CORRESPONDENCE = {"base": 6_133_248, "large": 6_854_144, "giant": 8_295_936}
DINO = {"base": 86_580_480, "large": 304_368_640, "giant": 1_136_480_768}


@pytest.mark.parametrize("size", DINO)
def test_every_part_of_the_7b_model_has_its_size(size: str) -> None:
    listed = {part.name: (part.count, part.trained) for part in parts(skeleton(seven_b_with(size)))}
    assert listed == {
        "global encoder (EVA-CLIP)": (985_952_256, 0),
        "semantic encoder (DINOv2)": (DINO[size], 0),
        "SAM image encoder": (637_026_048, 0),
        "Q-Former": (105_137_664, 0),
        "queries": (24_576, 24_576),
        "projection to the language model": (3_149_824, 0),
        "language model": (6_738_415_616, 0),
        "language model's adapters": (4_194_304, 4_194_304),
        "CEM": (CORRESPONDENCE[size],) * 2,
        "CAMs": (12_592_640, 12_592_640),
        "[SEG] projection": (17_830_144, 0),
        "SAM prompt encoder": (6_476, 0),
        "SAM mask decoder": (4_058_340, 4_058_340),
    }
    total = sum(count for count, _ in listed.values())
    trained = sum(count for _, count in listed.values())
    assert round(trained / 1e6, 1) == {"base": 27.0, "large": 27.7, "giant": 29.2}[size]
    assert f"{trained / total:.1%}" == "0.3%"


@pytest.mark.parametrize(("layers", "share"), [(0, 0.2), (1, 0.2), (2, 0.3), (3, 0.4)])
def test_only_two_cams_give_the_papers_share(layers: int, share: float) -> None:
    base = seven_b_with("giant")
    chosen = replace(base.correspondence, layers=tuple(range(layers)))
    listed = parts(skeleton(replace(base, correspondence=chosen)))
    trained, total = sum(p.trained for p in listed), sum(p.count for p in listed)
    assert round(100 * trained / total, 1) == (share if layers else 0.1)


@pytest.mark.parametrize("config", [tiny(), micro_config(), seven_b()], ids=lambda c: c.name)
def test_every_weight_is_in_exactly_one_part(config) -> None:
    model = skeleton(config)
    names = [name for part in parts(model) for name in part.weights]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())


class TestOperations:
    def test_the_7b_models_parts_agree_with_what_is_known_of_them(self) -> None:
        """SAM-H, EVA-g and DINOv2-B as measured elsewhere; two images each."""
        found = {name: count / 1e9 for name, count in calico_flops(seven_b(), Workload()).items()}
        assert found["SAM image encoder"] / 2 == pytest.approx(5961, abs=1)
        assert found["global encoder (EVA-CLIP)"] / 2 == pytest.approx(521, abs=1)
        assert found["semantic encoder (DINOv2)"] / 2 == pytest.approx(46, abs=1)
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


class TestMemory:
    def test_activations_counted_without_memory_are_those_of_a_real_pass(self) -> None:
        model, config = micro_model(language={"vocabulary": 300})
        width = config.language.hidden_size
        on_meta = skeleton(config)
        expected = saved_bytes(lambda: speak(on_meta.language, 5, 20, meta(2, 20, width)), on_meta)
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


class TestCommands:
    def test_the_tables_are_written(self, tmp_path: Path) -> None:
        config = tmp_path / "small.yaml"
        config.write_text("preset: tiny\nlanguage: {layers: 4}\n")
        path = tmp_path / "cost.md"
        assert command.main(["--config", str(config), "--write", str(path)]) == 0
        text = path.read_text()
        for title in ("## Parameters", "## Operations", "## Memory", "## Time"):
            assert title in text
        assert "32.6 %" in text

    def test_a_place_that_cannot_be_written_is_one_message(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert command.main(["--preset", "tiny", "--write", str(tmp_path)]) == 3
        assert "cannot be written" in capsys.readouterr().err

    def test_the_dry_run_of_the_7b_model_needs_neither_weights_nor_data(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.delenv("MIXEDPARTS_HOME", raising=False)
        assert train_command.main(["--preset", "7b", "--dry-run"]) == 0
        said = capsys.readouterr().out
        assert "name: 7b" in said
        assert "moments of the optimiser" in said
        assert "H100" in said
        assert "(training.features: encode): computed when a step asks for them" in said
        assert not list(tmp_path.rglob("checkpoint-*"))

    def test_help_is_light(self) -> None:
        code = (
            "import sys\nfrom calico.cli import cost\n"
            "try:\n    cost.main(['--help'])\nexcept SystemExit:\n    pass\n"
            "assert 'torch' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
