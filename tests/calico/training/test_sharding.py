"""FSDP2 in one process: what is sharded, in which dtypes, and that the numbers are the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import distributed, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from calico.checkpoints.save_load import FROZEN, TRAINED, TRAINING
from calico.config.calico import CalicoConfig
from calico.dataset.sampler import Sampler
from calico.model.calico import Calico
from calico.model.precision import store
from calico.runtime.sharding import end_lone_group, gathered
from calico.training.setup import Assembled, RunSettings
from calico.training.train import _Run
from calico.training.trainer import Trainer
from calico.weights.safetensors_io import read_tensors
from mixedparts.errors import UsageError
from mixedparts.progress import Silent
from tests.factories.micro_batches import ANSWER, training_batch
from tests.factories.micro_model import micro_model, micro_tokenizer, random_cams

FP32, BF16 = torch.float32, torch.bfloat16


@pytest.fixture(autouse=True)
def _no_group_stays() -> Iterator[None]:
    yield
    end_lone_group(Accelerator(cpu=True))


def model_and_config(
    parallel: str = "fsdp", precision: str = "bf16", **changes: Any
) -> tuple[Calico, CalicoConfig]:
    """Return a model as the 7B one is trained: frozen weights in bf16, adapters in float32."""
    words = len(micro_tokenizer())
    model, config = micro_model(
        seed=3,
        language={"vocabulary": words, "tuning": "lora", "lora_dropout": 0.0},
        trained={"qformer": False, "projection": False, "seg_projection": False},
        execution={"precision": precision, "activation_checkpointing": True, "parallel": parallel},
        training={"optimizer": "adamw", "ema": 0.9, "warmup_steps": 0, **changes},
    )
    random_cams(model)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight, std=0.1)
    return store(model, config.execution), config


def trained(
    parallel: str, steps: int = 3, precision: str = "bf16"
) -> tuple[Trainer, list[dict[str, float]]]:
    model, config = model_and_config(parallel, precision)
    trainer = Trainer(model, config, Accelerator(cpu=True))
    model.train()
    answers = (ANSWER, "Both pictures contain <p> a mug </p>.")
    lines = []
    for step in range(steps):
        parts = [training_batch(config, (answer,), seed=step) for answer in answers]
        lines.append(trainer.step(step, parts))
    return trainer, lines


def units(model: nn.Module) -> dict[str, list[str]]:
    """Return the names of the weights that each sharded unit gathers together."""
    found: dict[str, list[str]] = {}
    sharded = {name for name, module in model.named_modules() if isinstance(module, FSDPModule)}
    for name, weight in model.named_parameters():
        if isinstance(weight, DTensor):
            above = [name.rsplit(".", cut)[0] for cut in range(1, name.count(".") + 1)]
            unit = next((one for one in above if one in sharded), "")
            found.setdefault(unit, []).append(name)
    return found


class TestUnits:
    def test_each_has_one_dtype_and_a_layer_is_one_but_for_its_adapters(self) -> None:
        model, config = model_and_config()
        Trainer(model, config, Accelerator(cpu=True))
        weights = dict(model.named_parameters())
        found = units(model)
        for unit, names in found.items():
            assert len({weights[name].dtype for name in names}) == 1, unit
        layer = found["language.model.layers.0"]
        assert "language.model.layers.0.mlp.up_proj.weight" in layer
        assert not [name for name in layer if "lora" in name]
        assert {weights[name].dtype for name in found[""]} == {FP32}
        assert {weights[name].dtype for name in layer} == {BF16}

    def test_every_trained_weight_is_sharded_and_no_encoder_is(self) -> None:
        model, config = model_and_config()
        Trainer(model, config, Accelerator(cpu=True))
        for name, weight in model.named_parameters():
            sharded = isinstance(weight, DTensor)
            assert sharded or not weight.requires_grad, name
            assert not (sharded and name.startswith("encoders.")), name
        # Outside of the encoders only what a millionth of the 7B model is made of stays whole.
        rest = [
            name
            for name, weight in model.named_parameters()
            if not isinstance(weight, DTensor) and not name.startswith("encoders.")
        ]
        assert {name.split(".")[0] for name in rest} <= {"grounding", "language"}
        assert all("prompt_encoder" in name or name.endswith("model.norm.weight") for name in rest)

    def test_the_whole_model_is_never_moved(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It may not fit the device: units are brought there one after the other."""
        moved = []
        move = nn.Module.to

        def noted(module: nn.Module, *given: Any, **more: Any) -> nn.Module:
            moved.append(type(module))
            return move(module, *given, **more)

        monkeypatch.setattr(nn.Module, "to", noted)
        model, config = model_and_config()
        Trainer(model, config, Accelerator(cpu=True))
        assert Calico not in moved

    def test_weights_of_whole_numbers_are_refused(self) -> None:
        model, config = model_and_config()
        layer = model.language.model.layers[0].mlp
        layer.up_proj.weight = nn.Parameter(torch.zeros(4, dtype=torch.uint8), requires_grad=False)
        with pytest.raises(UsageError, match=r"up_proj.*uint8"):
            Trainer(model, config, Accelerator(cpu=True))


class TestSteps:
    # In bf16, transformers before 5.11 recomputes a layer together with its hooks, which rounds its
    # gradients of 8 bits in other places.
    @pytest.mark.parametrize(
        ("precision", "norm", "moments"),
        [("fp32", 1e-4, (0.02, 2e-6)), ("bf16", 4e-3, (0.1, 1e-4))],
    )
    def test_losses_norm_and_moments_are_those_of_whole_weights(
        self, precision: str, norm: float, moments: tuple[float, float]
    ) -> None:
        whole, expected = trained("ddp", precision=precision)
        sharded, found = trained("fsdp", precision=precision)
        assert distributed.get_world_size() == 1
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.pop("norm") == pytest.approx(theirs.pop("norm"), rel=norm)
            assert ours == pytest.approx(theirs, rel=1e-4)
        ours, theirs = sharded.state(), whole.state()
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            assert not isinstance(value, DTensor)
            if name.endswith("exp_avg"):
                rtol, atol = moments
                torch.testing.assert_close(value, theirs[name], rtol=rtol, atol=atol)

    def test_a_run_is_resumed_bit_for_bit(self) -> None:
        trainer, _ = trained("fsdp")
        saved = {name: value.clone() for name, value in trainer.state().items()}
        with trainer.averaged():
            weights = {
                name: value.clone() for name, value in gathered(trainer.weights, True).items()
            }
        model, config = model_and_config()
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if weight.requires_grad:
                    weight.copy_(weights[name])
        other = Trainer(model, config, Accelerator(cpu=True))
        given = {name: value.clone() for name, value in saved.items()}
        other.restore(saved)
        model.train()
        for one in (trainer, other):
            one.step(3, [training_batch(config, (ANSWER,), seed=7)])
        ours, theirs = other.state(), trainer.state()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
        assert all(torch.equal(value, given[name]) for name, value in saved.items())

    def test_only_the_process_that_writes_keeps_what_is_gathered(self) -> None:
        trainer, _ = trained("fsdp", 1)
        assert gathered(trainer.weights, False) == {}
        kept = gathered(trainer.weights, True)
        assert not any(isinstance(one, DTensor) or one.requires_grad for one in kept.values())


def test_a_checkpoint_of_published_weights_gathers_trained_ones_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, _ = trained("fsdp", 1)
    gather, dtypes = DTensor.full_tensor, set()

    def noted(tensor: DTensor, *given: Any, **more: Any) -> torch.Tensor:
        dtypes.add(tensor.dtype)
        return gather(tensor, *given, **more)

    monkeypatch.setattr(DTensor, "full_tensor", noted)
    config = trainer.config
    start = Assembled(trainer.model, micro_tokenizer(), config, 0, None, {"init": [{"path": "x"}]})
    batches: Any = SimpleNamespace(sampler=Sampler(6, config.training.batch_size, 0))
    settings = RunSettings(tmp_path / "run")
    rest: Any = (settings, trainer, batches, None, trainer.accelerator, Silent())
    run = _Run(start, None, *rest)  # type: ignore[arg-type]
    place = run._save(1)
    assert dtypes == {FP32}  # frozen weights are in bf16
    assert read_tensors(place / TRAINED).keys() == trainer.weights.keys()
    assert (place / TRAINING).is_file()
    assert not (place / FROZEN).exists()
    full = replace(start, metadata={})
    place = _Run(full, None, *rest)._save(2)  # type: ignore[arg-type]
    saved = read_tensors(place / FROZEN)
    name = "language.model.layers.0.mlp.up_proj.weight"
    assert torch.equal(saved[name], trainer.model.get_parameter(name).full_tensor())
