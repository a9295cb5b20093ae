"""Frozen weights in 8 and 4 bits, on the kernels that bitsandbytes has for CPUs."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes import functional
from torch import Tensor, nn

from calico.checkpoints.merge import merge_checkpoint
from calico.checkpoints.save_load import (
    FROZEN,
    frozen_weights,
    load_checkpoint,
    save_checkpoint,
    trained_weights,
)
from calico.config.calico import CalicoConfig
from calico.inference.predictor import Predictor
from calico.inference.queries import Query
from calico.model import quantized
from calico.model.calico import Calico
from calico.model.quantized import QuantizedLinear, quantizable, quantized_bytes
from calico.optim.optimizer import build_updater
from calico.weights.safetensors_io import read_tensors
from mixedparts.errors import EnvironmentFault, UsageError
from tests.factories.micro_batches import training_batch
from tests.factories.micro_model import micro_config, micro_model, micro_tokenizer, random_cams
from tests.factories.noise import noise_images

KINDS = ("int8", "nf4")
QUESTION = "Which object do both pictures contain?"


def oracle(weight: Tensor, kind: str) -> Tensor:
    """Return what bitsandbytes' own functions make of a weight."""
    if kind == "nf4":
        packed, state = functional.quantize_4bit(
            weight, blocksize=64, compress_statistics=True, quant_type="nf4"
        )
        return functional.dequantize_4bit(packed, state).float()
    packed, largest, _ = functional.int8_vectorwise_quant(weight.half())
    return functional.int8_vectorwise_dequant(packed, largest)


def small(kind: str, **execution: Any) -> tuple[Calico, CalicoConfig]:
    model, config = micro_model(
        seed=3,
        language={"vocabulary": len(micro_tokenizer()), "tuning": "lora", "lora_dropout": 0.0},
        execution={"quantization": kind, **execution},
        generation={"max_new_tokens": 8},
    )
    random_cams(model)
    return model, config


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_product_is_that_of_the_librarys_dequantised_weight(
    kind: str, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(96, 80).to(dtype)
    layer = QuantizedLinear(linear, linear.weight, kind)  # type: ignore[arg-type]
    expected = oracle(linear.weight.detach(), kind).to(dtype)
    inputs = torch.randn(2, 5, 96, dtype=dtype, requires_grad=True)
    found = layer(inputs)
    assert torch.equal(found, nn.functional.linear(inputs, expected, linear.bias)) or (
        (found - nn.functional.linear(inputs, expected, linear.bias)).abs().max() < 1e-5
    )
    found.float().square().sum().backward()
    gradient = (2 * found).detach() @ expected
    torch.testing.assert_close(inputs.grad, gradient, rtol=2e-2, atol=1e-4)
    held = sum(value.nbytes for name, value in layer.named_parameters() if name != "bias")
    assert held == quantized_bytes(80, 96, kind)  # type: ignore[arg-type]
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(inputs.float()).dtype == torch.bfloat16


@pytest.mark.parametrize("kind", KINDS)
def test_only_linears_in_the_layers_are_quantised(kind: str) -> None:
    model, config = small(kind)
    plain, _ = micro_model(
        seed=3, language={"tuning": "lora", "vocabulary": config.language.vocabulary}
    )
    layers = [n for n, m in model.named_modules() if isinstance(m, QuantizedLinear)]
    count = config.language.layers
    assert len(layers) == 7 * count
    assert all(name.startswith("language.model.layers.") for name in layers)
    assert not any("lora" in name for name in layers)
    # The same seed: what is quantised are the very weights of the plain model.
    for name in layers:
        weight = plain.get_submodule(name).weight.detach()
        layer = model.get_submodule(name)
        torch.testing.assert_close(layer.dequantized(torch.float32), oracle(weight, kind))
    assert model.language.lm_head.weight.dtype == torch.float32
    assert {one.dtype for one in model.bridge.parameters()} == {torch.float32}


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_changes_trained_weights_only(kind: str) -> None:
    model, config = small(kind, precision="bf16", activation_checkpointing=True)
    before = {name: value.clone() for name, value in model.named_parameters()}
    weights = trained_weights(model)
    updater = build_updater(weights, 1e-2, config.training)
    model.train()
    with torch.autocast("cpu", torch.bfloat16):
        losses = model(training_batch(config))
    losses.total.backward()
    updater.step(1.0)
    changed = {n for n, v in model.named_parameters() if not torch.equal(v, before[n])}
    assert changed <= set(weights)
    assert {name for name in changed if "lora_B" in name}, "the adapters are trained"


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_is_the_same_model_and_merging_dequantises(kind: str, tmp_path: Path) -> None:
    model, config = small(kind)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(weight, std=0.1)
    place = tmp_path / "checkpoint-000001"
    save_checkpoint(place, model, config, micro_tokenizer(), 1)
    loaded, read, _ = load_checkpoint(place)
    assert read == config
    own, other = frozen_weights(model), frozen_weights(loaded)
    assert own.keys() == other.keys()
    assert all(torch.equal(own[name], other[name]) for name in own)
    batch = training_batch(config)
    assert loaded(batch).total == model.eval()(batch).total

    merge_checkpoint(place, tmp_path / "merged")
    merged, flat, _ = load_checkpoint(tmp_path / "merged")
    assert flat.execution.quantization == "none"
    written = read_tensors(tmp_path / "merged" / FROZEN)
    assert not {torch.int8, torch.uint8} & {value.dtype for value in written.values()}
    layer = model.get_submodule("language.model.layers.1.self_attn.q_proj")
    scale = config.language.lora_alpha / config.language.lora_rank
    added = scale * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    expected = layer.base_layer.dequantized(torch.float32) + added
    found = merged.get_submodule("language.model.layers.1.self_attn.q_proj").weight
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(merged(batch).total, model(batch).total)
    # Both answer, and alike.
    query = [Query("0", QUESTION, noise_images(2))]
    answers = [
        next(Predictor.from_pretrained(p, "cpu").predict(query))
        for p in (place, tmp_path / "merged")
    ]
    assert answers[0].answer == answers[1].answer


def test_int8_keeps_no_input_for_the_backward_pass() -> None:
    """The library's own function for training holds on to it, checkpointing or not."""
    linear = nn.Linear(64, 64, bias=False)
    layer = QuantizedLinear(linear, linear.weight, "int8")
    inputs = torch.randn(3, 64, requires_grad=True)
    made = layer(inputs.clone())
    held = [one for one in vars(made.grad_fn).values() if isinstance(one, Tensor)]
    assert not held
    assert not made.grad_fn.saved_tensors


def test_without_the_package_one_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[..., Any] = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "bitsandbytes":
            raise ModuleNotFoundError("No module named 'bitsandbytes'", name="bitsandbytes")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EnvironmentFault, match="bitsandbytes") as raised:
        quantized.bitsandbytes()
    assert "quantized" in str(raised.value.hint)


def test_settings_that_cannot_be_quantised_are_refused() -> None:
    with pytest.raises(UsageError, match=r"execution\.quantization: needs language\.tuning"):
        micro_config(language={"tuning": "full"}, execution={"quantization": "nf4"})
    with pytest.raises(UsageError, match=r"execution\.quantization: needs execution\.parallel"):
        micro_config(
            language={"tuning": "lora"},
            training={"optimizer": "adamw"},
            execution={"quantization": "int8", "parallel": "fsdp"},
        )


def test_names_of_the_quantised_linears_leave_out_adapters() -> None:
    model, _ = small("none")
    names = quantizable(model.language)
    assert names
    assert not any("lora_" in name for name in names)
