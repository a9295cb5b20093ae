"""The auxiliary loss of presence: its value, its gradient, and that it adds up over parts."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from calico.model.inputs import TrainingBatch
from calico.model.presence import PresenceReader, PresenceTargets
from calico.training.trainer import Trainer, without_losses
from tests.factories.micro_batches import ANSWER, training_batch
from tests.factories.micro_model import micro_model

Asked = list[tuple[int, tuple[int, ...], bool]]
ASKED: list[Asked] = [
    [(0, (5,), True), (0, (6, 7), False), (1, (5,), False), (1, (6, 7), True)],
    [],
    [(1, (9,), True)],
]


def test_it_is_the_mean_over_names_of_the_mean_logit_of_their_words() -> None:
    torch.manual_seed(0)
    reader, output = PresenceReader(8, 2), nn.Linear(8, 12)
    states = torch.randn(3, 8)
    total = 0.0
    for state, asked in zip(states, ASKED, strict=True):
        both = reader.read(state).view(2, 8)
        for image, words, shown in asked:
            logit = output(both[image])[list(words)].mean().item()
            chance = 1 / (1 + math.exp(-logit))
            total -= math.log(chance if shown else 1 - chance) / len(asked)
    targets = PresenceTargets.of(ASKED)
    assert targets.samples == 2
    assert targets.tokens.tolist() == [[5, -1], [6, 7], [9, -1]]
    assert reader.loss(states, output, targets).item() == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("targets", [None, PresenceTargets.of([[], []])])
def test_without_names_it_is_zero_with_a_gradient(targets: PresenceTargets | None) -> None:
    reader, output = PresenceReader(8, 2), nn.Linear(8, 12)
    loss = reader.loss(torch.randn(2, 8), output, targets)
    loss.backward()
    assert loss.item() == 0
    assert reader.read.weight.grad is not None
    assert not reader.read.weight.grad.any()


def batch_of(config, count: int) -> TrainingBatch:
    asked: list[Asked] = [
        [(0, (3 + row,), True), (1, (4,), False), (1, (3, 5), row % 2 == 0)] for row in range(count)
    ]
    batch = training_batch(config, (ANSWER,) * count, seed=1)
    return replace(batch, presence=PresenceTargets.of(asked))


def split(batch: TrainingBatch, count: int) -> list[TrainingBatch]:
    """Cut a batch of equal answers into batches of one sample, and one that fills up."""
    assert batch.presence is not None
    masks = len(batch.masks) // count
    parts = []
    for row in range(count):
        here = batch.presence.places[:, 0] == row
        presence = replace(
            batch.presence,
            places=batch.presence.places[here] * torch.tensor([0, 1, 1]),
            shown=batch.presence.shown[here],
            weights=batch.presence.weights[here],
            samples=1,
        )
        features = type(batch.features)(
            *(
                getattr(batch.features, n)[2 * row : 2 * row + 2]
                for n in ("vision", "semantic", "sam")
            )
        )
        own = slice(row * masks, (row + 1) * masks)
        parts.append(
            replace(
                batch,
                tokens=batch.tokens[row : row + 1],
                answer=batch.answer[row : row + 1],
                features=features,
                masks=batch.masks[own],
                mask_image=batch.mask_image[own] - 2 * row,
                extents=batch.extents[2 * row : 2 * row + 2],
                presence=presence,
            )
        )
    return [*parts, without_losses(parts[0])]


def test_the_losses_of_parts_add_up_and_weights_are_trained() -> None:
    found, weights = [], []
    for divided in (False, True):
        model, config = micro_model(
            seed=3,
            loss={"presence": 0.7},
            training={"optimizer": "adamw", "warmup_steps": 0},
        )
        trainer = Trainer(model, config, Accelerator(cpu=True))
        batch = batch_of(config, 3)
        before = {name: one.detach().clone() for name, one in trainer.weights.items()}
        losses = trainer.step(0, split(batch, 3) if divided else [batch])
        found.append(losses)
        assert not torch.equal(before["presence.read.weight"], model.presence.read.weight)
        weights.append({name: one.detach().clone() for name, one in trainer.weights.items()})
    one, other = found
    assert set(one) == {"total", "text", "mask", "dice", "presence", "norm"}
    for name, value in one.items():
        assert other[name] == pytest.approx(value, rel=1e-4), name
    loss = config.loss
    expected = loss.text * one["text"] + loss.mask * one["mask"] + loss.dice * one["dice"]
    assert one["total"] == pytest.approx(expected + 0.7 * one["presence"], rel=1e-5)
    assert weights[0].keys() == weights[1].keys()


def test_without_it_the_model_has_no_such_weight() -> None:
    model, config = micro_model()
    assert config.loss.presence == 0
    assert model.presence is None
    assert not any(name.startswith("presence") for name in model.state_dict())
