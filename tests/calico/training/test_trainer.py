"""Steps of one process: the average of the weights, and the parts that a batch is taken in."""

from __future__ import annotations

from math import ceil
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from calico.model.inputs import TrainingBatch
from calico.training.trainer import StepData, Trainer, without_losses
from tests.factories.micro_batches import ANSWER, training_batch
from tests.factories.micro_model import micro_model


class TestAverage:
    def test_it_follows_the_weights_and_remembers_no_graph(self) -> None:
        """With a graph it would hold the weights of all steps, until memory is full."""
        model, config = micro_model(training={"ema": 0.75, "warmup_steps": 0})
        trainer = Trainer(model, config, Accelerator(cpu=True))
        model.train()
        expected = [weight.detach().clone() for weight in trainer.weights.values()]
        for step in range(2):
            trainer.step(step, [training_batch(config, seed=step)])
            for mean, weight in zip(expected, trainer.weights.values(), strict=True):
                mean.lerp_(weight.detach(), 0.25)
        assert not any(one.requires_grad or one.grad_fn for one in trainer.average)
        for mean, found in zip(expected, trainer.average, strict=True):
            assert torch.equal(mean, found)
        state = trainer.state()
        assert not any(one.requires_grad for one in state.values())


class Recorded:
    """Batches that hold the numbers of their samples as tokens."""

    text_steps = 0

    def __init__(self, size: int) -> None:
        self.size = size

    def samples(self, step: int) -> list[int]:
        return list(range(self.size))

    def batch(self, samples: list[int]) -> TrainingBatch:
        count = len(samples)
        return TrainingBatch(
            tokens=torch.tensor(samples)[:, None],
            answer=torch.ones(count, 3, dtype=torch.bool),
            features=SimpleNamespace(),  # type: ignore[arg-type]
            images=2,
            masks=torch.ones(count, 4, 4),
            mask_image=torch.arange(count),
            extents=torch.ones(2 * count, 2),
        )


class TestParts:
    @pytest.mark.parametrize("size", [2, 5, 7, 8])
    @pytest.mark.parametrize("most", [0, 1, 2, 3])
    def test_all_processes_take_as_many(self, size: int, most: int) -> None:
        batches: Any = Recorded(size)
        shares = [StepData(batches, rank, 2, most)[0] for rank in (0, 1)]
        expected = ceil(ceil(size / 2) / (most or size))
        assert [len(share) for share in shares] == [expected, expected]
        taken = [part for share in shares for part in share if part.answer.any()]
        assert sorted(one for part in taken for one in part.tokens[:, 0].tolist()) == [*range(size)]
        assert all(len(part.tokens) <= (most or size) for share in shares for part in share)
        # What fills up counts for nothing.
        counts = [part.counts() for share in shares for part in share]
        assert sum(one.masks for one in counts) == sum(one.images for one in counts) == size
        assert sum(one.tokens for one in counts) == 2 * size

    def test_what_fills_up_changes_nothing(self) -> None:
        weights = {}
        for filled in (False, True):
            model, config = micro_model(seed=3, training={"optimizer": "adamw", "warmup_steps": 0})
            trainer = Trainer(model, config, Accelerator(cpu=True))
            parts = [training_batch(config, (ANSWER,), seed=1)]
            if filled:
                parts.append(without_losses(training_batch(config, (ANSWER,), seed=2)))
            trainer.step(0, parts)
            weights[filled] = {name: one.detach() for name, one in trainer.weights.items()}
        for name, value in weights[True].items():
            assert torch.equal(value, weights[False][name]), name
