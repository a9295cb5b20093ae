"""Muon for matrices, AdamW for everything else."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from calico.checkpoints.save_load import trained_weights
from calico.config.calico import TrainingConfig
from calico.optim.optimizer import Updater, build_updater, hidden_matrices
from calico.training.state import optimizer_tensors, restore_optimizer
from mixedparts.errors import InputError, UsageError
from tests.factories.elsewhere import HERE, THERE, Elsewhere
from tests.factories.micro_model import micro_config, micro_model

MUON = TrainingConfig(optimizer="muon", muon_factor=2.0, weight_decay=0.1, clip=1e9)


class Small(nn.Module):
    """Two matrices, one of them narrow, and a vector."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.wide = nn.Linear(48, 40)
        self.narrow = nn.Linear(40, 4)

    def updater(self, settings: TrainingConfig = MUON, rate: float = 0.01) -> Updater:
        """Return what updates this network."""
        return build_updater(dict(self.named_parameters()), rate, settings, hidden_matrices(self))

    def learn(self, updater: Updater, seed: int = 1) -> dict[str, torch.Tensor]:
        """Take a step from a random gradient; return the gradients."""
        torch.manual_seed(seed)
        for weight in self.parameters():
            weight.grad = torch.randn_like(weight)
        gradients = {name: weight.grad.clone() for name, weight in self.named_parameters()}
        updater.step(1e9)
        return gradients


def test_an_update_of_a_matrix_is_orthogonal_and_as_large_as_adamws() -> None:
    network = Small()
    before = network.wide.weight.detach().clone()
    gradients = network.learn(network.updater())
    rate = 0.01 * MUON.muon_factor
    update = before * (1 - rate * MUON.weight_decay) - network.wide.weight.detach()
    # The nearest orthogonal matrix of the gradient, by another way than iterating.
    u, _, v = torch.linalg.svd(gradients["wide.weight"], full_matrices=False)
    expected = rate * 0.2 * 48**0.5 * (u @ v)
    assert torch.nn.functional.cosine_similarity(update.ravel(), expected.ravel(), 0) > 0.98
    spread = torch.linalg.svdvals(update) / (rate * 0.2 * 48**0.5)
    assert 0.6 < spread.min() < spread.max() < 1.3  # torch iterates five times, not to the end
    assert update.square().mean().sqrt() == pytest.approx(0.2 * rate, rel=0.2)


def test_everything_else_is_updated_as_by_adamw_alone() -> None:
    ours, theirs = Small(), Small()
    alone = theirs.updater(replace(MUON, optimizer="adamw"))
    ours.learn(ours.updater())
    theirs.learn(alone)
    for name in ("wide.bias", "narrow.weight", "narrow.bias"):
        assert torch.equal(ours.get_parameter(name), theirs.get_parameter(name)), name
    assert not torch.equal(ours.wide.weight, theirs.wide.weight)


def test_a_model_trains_its_layers_by_muon_but_not_its_words() -> None:
    model, config = micro_model()
    chosen = {id(weight) for weight in hidden_matrices(*model.networks())}
    named = trained_weights(model)
    by_muon = {name for name, weight in named.items() if id(weight) in chosen}
    assert "language.model.layers.0.self_attn.q_proj.weight" in by_muon
    assert "bridge.projection.weight" not in by_muon  # 24 wide
    assert not [n for n in by_muon if "embed" in n or "lm_head" in n or "queries" in n]
    updater = build_updater(named, 0.1, config.training, hidden_matrices(*model.networks()))
    kinds = {name: updater.moments(weight) for name, weight in named.items()}
    assert {name for name, kind in kinds.items() if kind == ("momentum_buffer",)} == by_muon


def test_what_is_remembered_can_be_put_back() -> None:
    ours = Small()
    updater = ours.updater()
    ours.learn(updater)
    theirs = copy.deepcopy(ours)
    other = theirs.updater()
    copied = {}
    for name, weight in ours.named_parameters():
        moments = {moment: value.clone() for moment, value in updater.state(weight).items()}
        assert set(moments) == set(updater.moments(weight))
        copied[theirs.get_parameter(name)] = moments
    other.restore(copied)
    ours.learn(updater, 2)
    theirs.learn(other, 2)
    for name, weight in ours.named_parameters():
        assert torch.equal(weight, theirs.get_parameter(name)), name


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_what_is_put_back_lies_where_the_optimiser_wants_it(optimizer: str) -> None:
    """A fused update reads its step counters on the device; CUDA refuses them elsewhere."""
    settings = replace(MUON, optimizer=optimizer)
    with Elsewhere():
        network = Small().to(THERE)
        updater = network.updater(settings)
        network.learn(updater)
        named = dict(network.named_parameters())
        saved = {
            name: value.to("cpu", copy=True)
            for name, value in optimizer_tensors(updater, named).items()
        }
        assert {value.device for value in saved.values()} == {HERE}
        other = copy.deepcopy(network)
        resumed = other.updater(settings)
        restore_optimizer(resumed, dict(other.named_parameters()), saved)
        state = resumed.state(other.wide.bias)
        assert {value.device for value in state.values()} == {THERE}
        assert state["step"].dtype == torch.float32
        for one, by in ((network, updater), (other, resumed)):
            one.learn(by, 2)
        for name, weight in network.named_parameters():
            assert torch.equal(weight, other.get_parameter(name)), name


def test_moments_come_back_in_the_order_of_their_weight_in_memory() -> None:
    """CUDA's fused update refuses moments whose strides differ from those of the weight."""
    weight = nn.Parameter(torch.randn(6, 4, 3, 3).to(memory_format=torch.channels_last))
    updater = build_updater({"conv": weight}, 0.1, replace(MUON, optimizer="adamw"))
    weight.grad = torch.randn_like(weight)
    updater.step(1e9)
    plain = {n: v.contiguous() for n, v in optimizer_tensors(updater, {"conv": weight}).items()}
    restore_optimizer(updater, {"conv": weight}, plain)
    for moment in ("exp_avg", "exp_avg_sq"):
        found = updater.state(weight)[moment]
        assert found.stride() == weight.stride()
        assert torch.equal(found, plain[f"conv/{moment}"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"wide.bias/exp_avg": None}, r"wide\.bias lacks exp_avg"),
        ({"wide.bias/exp_avg_sq": torch.zeros(3)}, r"exp_avg_sq of \(3,\) for wide\.bias"),
    ],
)
def test_moments_that_do_not_fit_are_one_message(
    changed: dict[str, torch.Tensor | None], message: str
) -> None:
    network = Small()
    updater = network.updater()
    network.learn(updater)
    named = dict(network.named_parameters())
    saved = {**optimizer_tensors(updater, named), **changed}
    given = {name: value for name, value in saved.items() if value is not None}
    with pytest.raises(InputError, match=message):
        restore_optimizer(updater, named, given)


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(UsageError, match="muon needs whole matrices"):
        micro_config(training={"optimizer": "muon"}, execution={"parallel": "fsdp"})
    with pytest.raises(UsageError, match="fsdp shards fp32 and bf16 only"):
        micro_config(execution={"parallel": "fsdp", "quantization": "nf4"})
    with pytest.raises(UsageError, match=r"training\.muon_factor: expected float > 0\.0, got 0\.0"):
        micro_config(training={"muon_factor": 0})
    with pytest.raises(
        UsageError, match=r"pretraining\.muon_factor: expected float > 0\.0, got -1\.0"
    ):
        micro_config(pretraining={"muon_factor": -1.0})


class TestRates:
    def test_parts_learn_at_their_own_rates(self) -> None:
        weights = {
            name: torch.nn.Parameter(torch.ones(2, 2))
            for name in ("language.a", "bridge.b", "grounding.c")
        }
        factors = {"language": 0.5, "grounding": 2.0}
        updater = build_updater(weights, 1.0, TrainingConfig(), factors=factors)
        updater.set_rate(0.1)
        rates = {id(w): group["lr"] for group in updater.groups for w in group["params"]}
        assert [rates[id(weight)] for weight in weights.values()] == [0.05, 0.1, 0.2]

    def test_a_part_that_is_none_is_refused(self) -> None:
        with pytest.raises(UsageError, match=r"rate_factors\.lamguage: choose from language"):
            micro_config(training={"rate_factors": {"lamguage": 0.1}})
