"""Pretraining, training, checkpoints and exact resumption, with a model of micro size."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from calico.checkpoints.save_load import find_checkpoint, load_checkpoint
from calico.config.calico import CalicoConfig
from calico.dataset.pairs import BuiltDataset
from calico.dataset.views import View
from calico.model.assembly import build_image_parts
from calico.pretraining.encoder_files import load_encoders
from calico.pretraining.pretrain import pretrain
from calico.pretraining.warm_start import carry_to_sam, carry_to_semantic
from calico.processing.images import ImageProcessor
from calico.training.feature_store import feature_store
from calico.training.train import RunSettings, train
from mixedparts.errors import InputError, UsageError
from mixedparts.progress import Silent
from tests.calico.factory import micro_config, micro_model, write_build


class Interrupted(Exception):
    """Stands for a kill."""


def stop_after(step: int):
    def check(done: int) -> None:
        if done == step:
            raise Interrupted

    return check


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> BuiltDataset:
    return BuiltDataset(write_build(tmp_path_factory.mktemp("data") / "build", 6))


@pytest.fixture(scope="module")
def encoders(dataset: BuiltDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrain(micro_config(), dataset, tmp_path_factory.mktemp("pre") / "encoders", Silent())


@pytest.fixture(scope="module")
def finished(
    dataset: BuiltDataset, encoders: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A whole run of 8 steps; do not write here."""
    output = tmp_path_factory.mktemp("run") / "whole"
    return train(lora_config(), dataset, RunSettings(output, encoders), Silent())


def lora_config() -> CalicoConfig:
    """Return a configuration with dropout, so that the random state matters."""
    return micro_config(language={"tuning": "lora", "lora_dropout": 0.3})


def tensors(checkpoint: Path) -> dict[str, torch.Tensor]:
    return {
        f"{name}:{key}": value
        for name in ("model", "frozen", "training")
        for key, value in load_file(checkpoint / f"{name}.safetensors").items()
    }


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


class TestFeatures:
    def test_the_store_holds_what_the_encoders_say(
        self, dataset: BuiltDataset, tmp_path: Path
    ) -> None:
        model, config = micro_model()
        processor = ImageProcessor(config)
        table = dataset.images("train")
        store = feature_store(
            model.encoders, table, [0, 2, 3], processor, tmp_path, True, Silent(), 2
        )
        read = store.read([(3, View(mirrored=True)), (0, View())])
        from calico.processing.images import open_picture

        pixels = [processor.pixels(open_picture(table.read(row), "")) for row in (3, 0)]
        with torch.no_grad():
            direct = model.encoders(processor.inputs([pixels[0].flipped(), pixels[1]]))
        for name in ("vision", "semantic", "sam"):
            one, other = getattr(read, name), getattr(direct, name)
            torch.testing.assert_close(one, other, atol=5e-3, rtol=5e-3)

    def test_other_weights_get_another_store(self, dataset: BuiltDataset, tmp_path: Path) -> None:
        for seed in (0, 1, 0):
            model, config = micro_model(seed)
            feature_store(
                model.encoders,
                dataset.images("train"),
                [0, 1],
                ImageProcessor(config),
                tmp_path,
                False,
                Silent(),
            )
        assert len(list(tmp_path.iterdir())) == 2


class TestResume:
    def test_a_killed_run_goes_on_bit_for_bit(
        self, dataset: BuiltDataset, encoders: Path, finished: Path, tmp_path: Path
    ) -> None:
        settings = RunSettings(tmp_path / "killed", encoders)
        with pytest.raises(Interrupted):
            train(lora_config(), dataset, settings, Silent(), stop_after(5))
        assert find_checkpoint(settings.output).name == "checkpoint-000003"
        resumed = train(lora_config(), dataset, replace(settings, resume=True), Silent())
        assert resumed.name == finished.name == "checkpoint-000008"
        ours, theirs = tensors(resumed), tensors(finished)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)

    def test_what_a_kill_left_half_written_is_removed(
        self, dataset: BuiltDataset, encoders: Path, tmp_path: Path
    ) -> None:
        settings = RunSettings(tmp_path / "left", encoders, max_steps=1)
        train(lora_config(), dataset, settings, Silent())
        (settings.output / ".best.json.1.tmp").write_text("{")
        (settings.output / ".checkpoint-000002.1.tmp").mkdir()
        train(lora_config(), dataset, replace(settings, resume=True, max_steps=2), Silent())
        assert not list(settings.output.glob(".*"))

    def test_max_steps_stops_within_the_same_schedule(
        self, dataset: BuiltDataset, encoders: Path, finished: Path, tmp_path: Path
    ) -> None:
        settings = RunSettings(tmp_path / "short", encoders, max_steps=2)
        first = train(lora_config(), dataset, settings, Silent())
        assert first.name == "checkpoint-000002"
        whole = replace(settings, max_steps=None, resume=True)
        resumed = train(lora_config(), dataset, whole, Silent())
        ours, theirs = tensors(resumed), tensors(finished)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)

    def test_a_run_is_never_overwritten(
        self, dataset: BuiltDataset, encoders: Path, finished: Path
    ) -> None:
        with pytest.raises(UsageError, match="--resume auto"):
            train(lora_config(), dataset, RunSettings(finished.parent, encoders), Silent())

    def test_another_configuration_is_refused(
        self, dataset: BuiltDataset, encoders: Path, finished: Path
    ) -> None:
        other = micro_config(
            language={"tuning": "lora", "lora_dropout": 0.3}, training={"learning_rate": 0.5}
        )
        settings = RunSettings(finished.parent, encoders, resume=True)
        with pytest.raises(UsageError, match=r"learning_rate: 0\.5"):
            train(other, dataset, settings, Silent())

    def test_another_dataset_is_refused(
        self, encoders: Path, finished: Path, tmp_path: Path
    ) -> None:
        other = BuiltDataset(write_build(tmp_path / "other", 5))
        settings = RunSettings(finished.parent, encoders, resume=True)
        with pytest.raises(InputError, match="another dataset"):
            train(lora_config(), other, settings, Silent())

    def test_only_the_newest_checkpoints_are_kept(
        self, dataset: BuiltDataset, encoders: Path, tmp_path: Path
    ) -> None:
        config = micro_config(training={"keep": 1})
        settings = RunSettings(tmp_path / "run", encoders)
        train(config, dataset, settings, Silent())
        assert [p.name for p in settings.output.glob("*checkpoint*")] == ["checkpoint-000008"]

    def test_encoders_are_made_where_none_are_given(
        self, dataset: BuiltDataset, tmp_path: Path
    ) -> None:
        said = []

        class Listening(Silent):
            def log(self, message: str) -> None:
                said.append(message)

        settings = RunSettings(tmp_path / "run", max_steps=1)
        train(micro_config(), dataset, settings, Listening())
        assert (settings.output / "encoders" / "encoders.safetensors").is_file()
        assert any("pretrained encoders" in text for text in said)

    def test_a_preset_without_loadable_weights_is_one_message(
        self, dataset: BuiltDataset, tmp_path: Path
    ) -> None:
        none = dict.fromkeys(("steps", "semantic_steps", "mask_steps", "qformer_steps"), 0)
        config = micro_config(pretraining=none)
        with pytest.raises(UsageError, match="published weights"):
            train(config, dataset, RunSettings(tmp_path / "run"), Silent())


class TestLog:
    def test_every_line_is_json_with_the_losses(self, finished: Path) -> None:
        lines = (finished.parent / "train.log.jsonl").read_text().splitlines()
        parsed = [json.loads(line) for line in lines]
        assert [line["step"] for line in parsed] == [2, 4, 6, 8]
        assert all(line["total"] > 0 and line["text"] > 0 for line in parsed)


class TestCheckpoints:
    def test_the_rebuilt_model_has_the_same_weights(self, finished: Path) -> None:
        model, config, tokenizer = load_checkpoint(finished.parent)
        saved = {**load_file(finished / "model.safetensors")}
        named = dict(model.named_parameters())
        assert all(torch.equal(named[name], value) for name, value in saved.items())
        assert config.language.vocabulary == len(tokenizer)
        assert not model.training

    def test_it_holds_only_what_was_trained(self, finished: Path) -> None:
        names = load_file(finished / "model.safetensors").keys()
        assert any("lora_A" in name for name in names)
        assert not any("base_layer" in name or name.startswith("encoders") for name in names)

    def test_a_renamed_key_is_named_on_both_sides(self, finished: Path, tmp_path: Path) -> None:
        broken = copy(finished, tmp_path)
        weights = load_file(broken / "model.safetensors")
        weights["bridge.query_tokens"] = weights.pop("bridge.queries")
        save_file(weights, broken / "model.safetensors")
        with pytest.raises(InputError) as raised:
            load_checkpoint(broken)
        assert "missing: bridge.queries" in str(raised.value)
        assert "unexpected: bridge.query_tokens" in str(raised.value)

    def test_a_wrong_shape_is_named(self, finished: Path, tmp_path: Path) -> None:
        broken = copy(finished, tmp_path)
        weights = load_file(broken / "model.safetensors")
        weights["bridge.queries"] = weights["bridge.queries"][:, :2].contiguous()
        save_file(weights, broken / "model.safetensors")
        with pytest.raises(InputError, match=r"bridge\.queries is \(1, 2, 24\)"):
            load_checkpoint(broken)

    def test_a_cut_file_is_one_message(self, finished: Path, tmp_path: Path) -> None:
        broken = copy(finished, tmp_path)
        data = (broken / "model.safetensors").read_bytes()
        (broken / "model.safetensors").write_bytes(data[: len(data) // 2])
        with pytest.raises(InputError, match=r"model\.safetensors"):
            load_checkpoint(broken)

    def test_an_empty_folder_is_one_message(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no checkpoint"):
            load_checkpoint(tmp_path)


def copy(checkpoint: Path, into: Path) -> Path:
    """Return a copy of a checkpoint that a test may break."""
    broken = into / "checkpoint"
    broken.mkdir()
    for file in checkpoint.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    return broken


class TestCarryOver:
    """The other encoders can start as copies of the global one."""

    def config(self) -> CalicoConfig:
        return micro_config(
            semantic={"hidden_size": 32},
            pretraining={"carry_over": True},
            vision={"mlp_size": 32},
        )

    def test_the_semantic_encoder_computes_the_same(self) -> None:
        parts = build_image_parts(self.config())
        encoders = parts.encoders.eval()
        carry_to_semantic(encoders.vision, encoders.semantic)
        pixels = torch.randn(2, 3, 32, 32)
        with torch.no_grad():
            torch.testing.assert_close(
                encoders.semantic(pixels).last_hidden_state,
                encoders.vision(pixels).last_hidden_state,
                atol=1e-5,
                rtol=1e-5,
            )

    def test_sams_layers_are_the_same(self) -> None:
        parts = build_image_parts(self.config())
        encoders = parts.encoders.eval()
        carry_to_sam(encoders.vision, encoders.sam)
        states = torch.randn(1, 16, 32)
        with torch.no_grad():
            for source, target in zip(
                encoders.vision.encoder.layers, encoders.sam.layers, strict=True
            ):
                torch.testing.assert_close(
                    target(states.view(1, 4, 4, 32)).view(1, 16, 32),
                    source(states),
                    atol=1e-5,
                    rtol=1e-5,
                )
            pixels = torch.randn(1, 3, 32, 32)
            stem = encoders.vision.embeddings.patch_embedding(pixels)
            torch.testing.assert_close(encoders.sam.patch_embed(pixels).permute(0, 3, 1, 2), stem)

    def test_sams_positions_are_resized_where_it_sees_a_larger_picture(self) -> None:
        config = self.config()
        config = replace(config, sam=replace(config.sam, image_size=64))
        encoders = build_image_parts(config).encoders
        with torch.no_grad():
            known = encoders.vision.embeddings.position_embedding
            ramp = torch.arange(4.0)
            known[0, 1:] = (ramp[:, None] + 10 * ramp).reshape(16, 1)  # 1 a row, 10 a column
        carry_to_sam(encoders.vision, encoders.sam)
        positions = encoders.sam.pos_embed[0, 2:6, 2:6, 0]  # away from the border
        torch.testing.assert_close(positions.diff(dim=0), torch.full((3, 4), 0.5))
        torch.testing.assert_close(positions.diff(dim=1), torch.full((4, 3), 5.0))

    def test_shapes_that_differ_are_refused(self) -> None:
        with pytest.raises(UsageError, match=r"semantic\.hidden_size is 16, vision\.hidden_size"):
            micro_config(pretraining={"carry_over": True})
